import { type IpAddr, ipToBytes } from '../../lib/address.ts'
import { fingerprint } from '../../lib/fingerprint.ts'
import { nftName } from '../rules/nft-text.ts'
import type { Op } from '../table.ts'
import type { GuardChain, GuardChains, GuardPeer, GuardSet, GuardSets } from './objects.ts'

/** Scripts for `nft -f -`, a transaction each. Source: nft(8). */

const COMMENT = 'flanneld guard'

/** A set with a comment that tells it from every other one. `keys`: what its elements mean, where the types do not say it. */
export function markedSet(name: string, body: string, keys = ''): GuardSet {
  return { name, body, mark: `${COMMENT} ${fingerprint(`${body}${keys}`).slice(0, 8)}` }
}

/** Whether a set of this comment was made by us, in whatever version. */
export function isGuardMark(mark: string): boolean {
  return mark.startsWith(`${COMMENT} `)
}

export const GUARD_COMMENT = COMMENT

/** Makes the table anew, whatever it was. */
export function setsScript({ table, sets, counters }: GuardSets): string {
  const lines = [`add table inet ${table}`, `delete table inet ${table}`, `table inet ${table} {`]
  for (const name of counters) lines.push(`\tcounter ${name} {`, '\t}')
  for (const { name, body, mark } of sets) lines.push(`\tset ${name} {`, `\t\t${body}`, `\t\tcomment "${mark}"`, '\t}')
  return `${[...lines, '}'].join('\n')}\n`
}

export function setsRemoval({ table }: GuardSets): string {
  return `delete table inet ${table}\n`
}

/** What is in the table's chains is replaced; its sets keep their elements and its counters their numbers. */
export function chainsScript(desired: GuardChains, actual: GuardChains | undefined): string {
  const lines = [...(actual?.chains ?? []).map(({ name }) => `flush chain inet ${desired.table} ${name}`)]
  for (const chain of actual?.chains ?? []) {
    if (!isKept(chain, desired)) lines.push(`delete chain inet ${desired.table} ${chain.name}`)
  }
  lines.push(`table inet ${desired.table} {`)
  // A chain must be there before a rule jumps to it: those that others jump to come first.
  const ordered = [...desired.chains].sort((a, b) => Number(a.base !== undefined) - Number(b.base !== undefined))
  for (const { name, base, rules } of ordered) {
    lines.push(`\tchain ${name} {`)
    if (base !== undefined) lines.push(`\t\ttype filter hook ${base.hook} priority ${base.priority}; policy accept;`)
    for (const { text, mark } of rules) lines.push(`\t\t${text} comment "${mark}"`)
    lines.push('\t}')
  }
  return `${[...lines, '}'].join('\n')}\n`
}

function isKept(chain: GuardChain, { chains }: GuardChains): boolean {
  const wanted = chains.find(({ name }) => name === chain.name)
  return (
    wanted !== undefined && wanted.base?.hook === chain.base?.hook && wanted.base?.priority === chain.base?.priority
  )
}

export function chainsRemoval({ table, chains }: GuardChains): string {
  const lines = chains.map(({ name }) => `flush chain inet ${table} ${name}`)
  return `${[...lines, ...chains.map(({ name }) => `delete chain inet ${table} ${name}`)].join('\n')}\n`
}

/** As lines for a shell. */
export function peerCommands(op: Op<GuardPeer>): readonly string[] {
  if (op.verb === 'remove') return elementCommands('delete', op.object)
  const before = op.verb === 'create' ? [] : elementCommands('delete', op.actual)
  return [...before, ...elementCommands('add', op.object)]
}

function elementCommands(verb: 'add' | 'delete', peer: GuardPeer): readonly string[] {
  const { table, family, name, vteps, senders } = peer
  const comment = verb === 'add' ? ` comment "${name}"` : ''
  const line = (set: string, elements: readonly string[]) =>
    elements.length === 0
      ? []
      : [
          `nft '${verb} element inet ${table} ${set}${family} { ${elements.map((text) => `${text}${comment}`).join(', ')} }'`,
        ]
  return [
    ...line('subnets', peer.subnets.map(numberText)),
    ...line(
      'paths',
      peer.paths.map(({ outer, source }) => `${outer} . ${numberText(source)}`),
    ),
    ...line('vteps', [...vteps, ...(peer.aliases ?? [])]),
    ...line(
      'senders',
      senders.map(({ device, source }) => `${nftName(device)} . ${source}`),
    ),
  ]
}

/** An address in a key that nft takes for a number: it knows what stands at an offset by its bits only. */
export function numberText(address: IpAddr): string {
  return `0x${Buffer.from(ipToBytes(address)).toString('hex')}`
}
