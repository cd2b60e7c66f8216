import type { KernelObject } from '../../kernel/objects.ts'
import { type Cidr, contains, type Family, firstHost, type IpAddr } from '../../lib/address.ts'
import { UPLINK } from './host.ts'
import type { SimulatedNode } from './node.ts'
import type { World } from './world.ts'

const OUTSIDE: Readonly<Record<Family, IpAddr>> = { 4: '203.0.113.7' as IpAddr, 6: '2001:db8:ffff::7' as IpAddr }

interface Leaving {
  readonly from: IpAddr
  readonly to: IpAddr
  readonly by: string
}

/** What is wrong with the sender's address of what leaves this node; undefined: nothing. */
export function masqueradeFault(node: SimulatedNode, family: Family, world: World): string | undefined {
  const subnet = node.subnets.get(family)
  if (world.scenario.masquerade === 'no' || subnet === undefined) return undefined
  const from = firstHost(subnet)
  if (!isMasqueraded(node, family, { from, to: OUTSIDE[family], by: UPLINK })) return `${from} is seen by the world`
  for (const [one, to] of world.pairs()) {
    const other = to.subnets.get(family)
    if (one !== node || other === undefined) continue
    if (isMasqueraded(node, family, { from, to: firstHost(other), by: UPLINK }))
      return `${from} is hidden from ${other}`
  }
  return undefined
}

/** By the rules of this node, as iptables or nft would go through them. */
function isMasqueraded({ host, maker }: SimulatedNode, family: Family, packet: Leaving): boolean {
  const rules = host.madeBy(maker).flatMap((object) => rulesOf(object, family))
  return rules.find((rule) => fits(rule, packet))?.verdict === 'masquerade'
}

interface Rule {
  readonly conditions: readonly { readonly field: string; readonly value: string; readonly isNot: boolean }[]
  readonly verdict: string
}

function rulesOf(object: KernelObject, family: Family): readonly Rule[] {
  if (object.kind === 'nft-table' && object.family === family)
    return object.chains
      .filter(({ type }) => type === 'nat')
      .flatMap(({ rules }) => rules.map(({ text }) => ofNft(text)))
  if (object.kind !== 'iptables-chain' || object.family !== family || object.table !== 'nat') return []
  return object.jumps.some(({ from }) => from === 'POSTROUTING') ? object.rules.map(ofIptables) : []
}

function ofIptables(text: string): Rule {
  const found = text.matchAll(/(! )?(-s|-d|-o|--mark) (\S+)/g)
  const conditions = Array.from(found, ([, not, field = '', value = '']) => ({
    field,
    value,
    isNot: not !== undefined,
  }))
  return { conditions, verdict: (/-j (\S+)/.exec(text)?.[1] ?? '').toLowerCase() }
}

const FIELDS: Readonly<Record<string, string>> = { saddr: '-s', daddr: '-d', oifname: '-o' }

function ofNft(text: string): Rule {
  const found = text.matchAll(/(saddr|daddr|oifname) (!= )?(\S+)/g)
  const conditions = Array.from(found, ([, field = '', not, value = '']) => {
    return { field: FIELDS[field] ?? '', value: value.replaceAll('"', ''), isNot: not !== undefined }
  })
  const marked = text.startsWith('meta mark') ? [{ field: '--mark', value: '', isNot: false }] : []
  return { conditions: [...marked, ...conditions], verdict: /\b(masquerade|return|accept)\b/.exec(text)?.[1] ?? '' }
}

/** No packet here bears a mark. */
function fits({ conditions }: Rule, { from, to, by }: Leaving): boolean {
  return conditions.every(({ field, value, isNot }) => {
    if (field === '--mark') return false
    const is = field === '-o' ? by === value : contains(asPrefix(value), field === '-s' ? from : to)
    return is !== isNot
  })
}

function asPrefix(value: string): Cidr {
  return (value.includes('/') ? value : `${value}/${value.includes(':') ? 128 : 32}`) as Cidr
}
