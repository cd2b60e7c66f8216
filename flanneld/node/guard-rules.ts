import type { Ingress, OuterForm } from '../../backends/backend.ts'
import type { GuardChain, GuardHook } from '../../kernel/kinds/guard-chains/kind.ts'
import { numberText } from '../../kernel/kinds/guard-peer/kind.ts'
import { markedSet } from '../../kernel/kinds/guard-sets/kind.ts'
import type { DesiredObject, Role } from '../../kernel/objects.ts'
import { GUARD_COMMENT, GUARD_TABLE, namedFor } from '../../kernel/rules/names.ts'
import { markedRules, nftFamily, nftName } from '../../kernel/rules/nft-text.ts'
import { addressBits, type Cidr, FAMILIES, type Family, familyOf, type IpAddr } from '../../lib/address.ts'
import { keyMask, prefixKey } from '../../lib/prefix-key.ts'
import { addressesInside, type OwnSide } from './own-addresses.ts'
import { tunnelsOf } from './own-packets.ts'
import { judgedLinks, lengthsInUse } from './peer-traits.ts'

/** What the command line says about the guard; no guard where there is none. */
export interface GuardOptions {
  /** `on`: what is refused is dropped, too. */
  readonly mode: 'on' | 'count'
  /** Sources of either family that are never refused, of inner and outer packets alike. */
  readonly allow: readonly Cidr[]
  /** Stands in the name of the table; empty for the default instance. */
  readonly instance: string
}

/**
 * Why a packet is refused. `outer-source`: a tunnel's outer packet from a host that is no peer. `inner-source`: in the
 * tunnel came a source that is no peer's, or not that of the peer who sent it. `direct-source`: without a tunnel came a container's address that no peer on this link
 * has. `container`: a container sends to a tunnel port of a host.
 */
export const REFUSALS = ['outer-source', 'inner-source', 'direct-source', 'container'] as const
export type Refusal = (typeof REFUSALS)[number]

/** Elements of this form are none of an earlier version, which had a subnet's first address. */
const KEYED = 'by prefix key'
/** Behind conntrack's defragmentation, before any address is translated. */
const PRIORITY = -150
/** Whoever sends from ever new addresses fills no more than this. */
const OFFENDERS = 'size 128; flags dynamic,timeout; timeout 1h;'
const REMEDY = 'install the package nftables (1.0.6 is tested), or set --ingress-guard=off'

/** Name of the guard's table. */
export function guardTable(instance: string): string {
  return namedFor(instance, GUARD_TABLE)
}

/** Name of the set that remembers who was refused; its keys are device and source. */
export function offenderSet(refusal: Refusal, family: Family): string {
  return `${refusal.replace('-source', '')}${family}`
}

interface Input extends OwnSide {
  /** Of the peers together (`peer-traits.ts`). */
  readonly traits: ReadonlySet<string>
}

/**
 * The guard beside what each peer's plan says: sets, counters, what is this node's own, and the chains that judge what comes in by any
 * of the ways. Pure.
 */
export function guardObjects(
  input: Input,
  ingresses: readonly Ingress[],
  { mode, allow, instance }: GuardOptions,
): readonly DesiredObject[] {
  const role: Role = mode === 'on' ? { class: 'required' } : { class: 'advisory', remedy: REMEDY }
  const table = guardTable(instance)
  const outer = ingresses.flatMap((ingress) => ingress.outer)
  const base = [
    baseChain('prerouting', [...tunnelRules(input, ingresses), ...linkRules(input)]),
    baseChain('input', outerRules(input, outer)),
    baseChain('forward', containerRules(input, outer)),
  ].filter(({ rules }) => rules.length > 0)
  const isUsed = (name: string) => base.some(({ rules }) => rules.some(({ text }) => text.endsWith(` goto ${name}`)))
  const refusals = FAMILIES.flatMap((family) =>
    REFUSALS.filter((refusal) => isUsed(offenderSet(refusal, family))).map((refusal) =>
      refusalChain(refusal, family, mode, allow),
    ),
  )
  return [
    { kind: 'guard-sets', role, table, sets: FAMILIES.flatMap(setsOf), counters: REFUSALS },
    ...ownSubnets(input, table, role),
    { kind: 'guard-chains', role, table, chains: [...refusals, ...base] },
  ]
}

/** This node's own subnets, of which nobody else may speak. */
function ownSubnets({ network, own }: Input, table: string, role: Role): readonly DesiredObject[] {
  return [...own.families]
    .filter(([family]) => network.families.has(family))
    .map(([family, { subnet }]) => {
      const nobody = { vteps: [], paths: [], senders: [] }
      return { kind: 'guard-peer', role, table, family, name: subnet, subnets: [prefixKey(subnet)], ...nobody }
    })
}

function setsOf(family: Family) {
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr'
  const { field } = innerSource({ type: 'vxlan' }, family)
  // Not of prefixes: such a set costs the kernel 80 times as much to fill. A subnet is looked up by its key (lib/prefix-key.ts).
  return [
    markedSet(`subnets${family}`, `typeof ${field};`),
    markedSet(`vteps${family}`, `type ${address};`),
    markedSet(`senders${family}`, `type ifname . ${address};`, KEYED),
    markedSet(`paths${family}`, `typeof ${nftFamily(family)} saddr . ${field};`, KEYED),
    ...REFUSALS.map((refusal) => markedSet(offenderSet(refusal, family), `type ifname . ${address}; ${OFFENDERS}`)),
  ]
}

/** Out of a tunnel: containers of peers, and their hosts by the addresses that the lease names. */
function tunnelRules(input: Input, ingresses: readonly Ingress[]): readonly string[] {
  const tunnels = FAMILIES.flatMap((family) => tunnelsOf(ingresses, family))
  if (tunnels.length === 0) return []
  const from = `iifname ${listText([...new Set(tunnels)].map(nftName))}`
  const itself = ingresses.flatMap(({ own: speaker }) =>
    speaker === undefined ? [] : [`iifname ${nftName(speaker.device)} ip saddr ${speaker.address} accept`],
  )
  const judged = FAMILIES.map((family) => {
    const refuse = `goto ${offenderSet('inner-source', family)}`
    // A family that the network has not has no peers either.
    if (!input.network.families.has(family)) return `${from} meta nfproto ipv${family} ${refuse}`
    const strangers = lengthsOf(input, family).map((length) => notASender(family, length))
    return `${from} ${strangers.join(' ')} ${nftFamily(family)} saddr != @vteps${family} ${refuse}`
  })
  return [...itself, ...judged]
}

/**
 * Without a tunnel only who claims to be a container is judged: hosts may have addresses inside the network. To such an address of
 * this host containers of peers speak without a tunnel, wherever they are (what stays inside the network is not masqueraded), and
 * that far they are let in.
 */
function linkRules(input: Input): readonly string[] {
  const { network, own, facts, traits } = input
  const from = `iifname ${listText(judgedLinks(facts.external.name, traits).map(nftName))}`
  return [...network.families.keys()].flatMap((family) => {
    const ip = nftFamily(family)
    const refuse = `goto ${offenderSet('direct-source', family)}`
    const subnet = own.families.get(family)?.subnet
    const inside = addressesInside(input, family)
    const further = inside.length === 0 ? '' : ` ${ip} daddr != ${listText(inside)}`
    return [
      ...(subnet !== undefined && inside.length > 0 ? [`${from} ${ip} saddr ${subnet} ${refuse}`] : []),
      ...lengthsOf(input, family).map((length) => {
        const claims = isOverlay(`@nh,${SOURCE_OFFSET[family] * 8},${addressBits(family)}`, family, length)
        return `${from} meta nfproto ipv${family} ${claims} ${notASender(family, length)}${further} ${refuse}`
      }),
    ]
  })
}

function outerRules(input: Input, outer: readonly OuterForm[]): readonly string[] {
  return [...input.network.families.keys()].flatMap((family) => {
    const source = `${nftFamily(family)} saddr`
    return outer.flatMap((form) => {
      const packet = outerText(form, family)
      if (packet === undefined) return []
      const { filter, field } = innerSource(form, family)
      return [
        `${packet} ${source} != @vteps${family} goto ${offenderSet('outer-source', family)}`,
        // A peer that speaks for another one's containers.
        ...lengthsOf(input, family).map((length) => {
          const key = keyText(field, numberText, family, length)
          // Nearly every packet is its peer's own, and the first look ends the rule.
          const lie = `${source} . ${key} != @paths${family} ${isOverlay(field, family, length)}`
          return `${packet} ${filter}${lie} goto ${offenderSet('inner-source', family)}`
        }),
      ]
    })
  })
}

/** Masqueraded, a container's packet would have its host's address, which the other hosts let in. */
function containerRules(input: Input, outer: readonly OuterForm[]): readonly string[] {
  return [...input.network.families.keys()].flatMap((family) => {
    const field = `@nh,${SOURCE_OFFSET[family] * 8},${addressBits(family)}`
    return outer.flatMap((form) => {
      const packet = outerText(form, family)
      if (packet === undefined) return []
      return lengthsOf(input, family).map((length) => {
        const way = `${isOverlay(field, family, length)} ${nftFamily(family)} daddr @vteps${family}`
        return `${packet} ${way} goto ${offenderSet('container', family)}`
      })
    })
  })
}

/** Undefined: there are none of this form in the family. */
function outerText(form: OuterForm, family: Family): string | undefined {
  // Other overlays may have the same port: theirs is another network's number, in the VXLAN header's second word.
  if (form.type === 'vxlan') return `udp dport ${form.port} @th,96,24 0x${form.vni.toString(16).padStart(6, '0')}`
  if (family === 6) return undefined
  return form.type === 'udp' ? `udp dport ${form.port}` : 'ip protocol 4'
}

const ETHER_TYPE: Readonly<Record<Family, string>> = { 4: '0x0800', 6: '0x86dd' }
/** Bytes in front of it. */
const SOURCE_OFFSET: Readonly<Record<Family, number>> = { 4: 12, 6: 8 }
const HEADERS = { ipip: 0, udp: 8, vxlan: 8 + 8 + 14 } as const

/** Where the inner packet's source stands behind the outer IP header, in nft's words: offset and length in bits. */
function innerSource(
  { type }: Pick<OuterForm, 'type'>,
  family: Family,
): { readonly filter: string; readonly field: string } {
  const field = `@th,${(HEADERS[type] + SOURCE_OFFSET[family]) * 8},${addressBits(family)}`
  return { field, filter: type === 'vxlan' ? `@th,${(HEADERS.vxlan - 2) * 8},16 ${ETHER_TYPE[family]} ` : '' }
}

/** True of a packet with an address of the own or a peer's subnet of this length. */
function isOverlay(field: string, family: Family, length: number): string {
  return `${keyText(field, numberText, family, length)} @subnets${family}`
}

/** True of a packet whose device and source are those of no peer with a subnet of this length. */
function notASender(family: Family, length: number): string {
  return `iifname . ${keyText(`${nftFamily(family)} saddr`, (address) => address, family, length)} != @senders${family}`
}

/** The key of the subnet of this length that the address in the field lies in; the rule asks once for each length. */
function keyText(field: string, text: (address: IpAddr) => string, family: Family, length: number): string {
  const { mask, mark } = keyMask(family, length)
  return `${field} & ${text(mask)} | ${text(mark)}`
}

function lengthsOf({ traits, network, own }: Input, family: Family): readonly number[] {
  return lengthsInUse(traits, { network, own }, family)
}

function refusalChain(
  refusal: Refusal,
  family: Family,
  mode: GuardOptions['mode'],
  allow: readonly Cidr[],
): GuardChain {
  const ip = nftFamily(family)
  const set = offenderSet(refusal, family)
  return {
    name: set,
    rules: markedRules(GUARD_COMMENT, [
      ...allow.filter((cidr) => familyOf(cidr) === family).map((cidr) => `${ip} saddr ${cidr} accept`),
      // A full set ends this rule, so the next one must not be part of it.
      `counter name "${refusal}" update @${set} { iifname . ${ip} saddr counter }`,
      ...(mode === 'on' ? ['drop'] : []),
    ]),
  }
}

function baseChain(hook: Exclude<GuardHook, 'other'>, texts: readonly string[]): GuardChain {
  // Two ways may bring packets of one form.
  return { name: hook, base: { hook, priority: PRIORITY }, rules: markedRules(GUARD_COMMENT, [...new Set(texts)]) }
}

function listText(values: readonly string[]): string {
  return values.length === 1 ? (values[0] ?? '') : `{ ${values.join(', ')} }`
}
