import type { HostFacts, Ingress, OuterForm } from '../backends/backend.ts'
import { judgedLinks } from '../backends/ingress-guard.ts'
import type { GuardChain, GuardHook } from '../kernel/guard/objects.ts'
import { GUARD_COMMENT, markedSet, numberText } from '../kernel/guard/text.ts'
import type { DesiredObject, Role } from '../kernel/objects.ts'
import { GUARD_TABLE, namedFor } from '../kernel/rules/names.ts'
import { markedRules, nftName } from '../kernel/rules/nft-text.ts'
import { nftFamily } from '../kernel/rules/objects.ts'
import {
  addressBits,
  type Cidr,
  FAMILIES,
  type Family,
  familyOf,
  type IpAddr,
  ipFromNumber,
  networkAddress,
  prefixLength,
} from '../lib/address.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import type { Lease } from '../subnet/types.ts'

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

/** The guard beside what each peer's plan says: sets, counters and the chains that judge. Pure. */
export function guardObjects(
  input: { readonly network: NetworkConfig; readonly own: Lease; readonly facts: HostFacts },
  ingress: Ingress,
  { mode, allow, instance }: GuardOptions,
): readonly DesiredObject[] {
  const role: Role = mode === 'on' ? { class: 'required' } : { class: 'advisory', remedy: REMEDY }
  const table = guardTable(instance)
  const base = [
    baseChain('prerouting', [...tunnelRules(input, ingress), ...linkRules(input)]),
    baseChain('input', outerRules(input, ingress)),
    baseChain('forward', containerRules(input, ingress)),
  ].filter(({ rules }) => rules.length > 0)
  const isUsed = (name: string) => base.some(({ rules }) => rules.some(({ text }) => text.endsWith(` goto ${name}`)))
  const refusals = FAMILIES.flatMap((family) =>
    REFUSALS.filter((refusal) => isUsed(offenderSet(refusal, family))).map((refusal) =>
      refusalChain(refusal, family, mode, allow),
    ),
  )
  return [
    { kind: 'guard-sets', role, table, sets: FAMILIES.flatMap(setsOf), counters: REFUSALS },
    { kind: 'guard-chains', role, table, chains: [...refusals, ...base] },
  ]
}

function setsOf(family: Family) {
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr'
  return [
    markedSet(`vteps${family}`, `type ${address};`),
    // Not of prefixes: such a set costs the kernel 80 times as much to fill, and subnets of one length need no search.
    markedSet(`senders${family}`, `type ifname . ${address};`),
    markedSet(`paths${family}`, `typeof ${nftFamily(family)} saddr . ${innerSource({ type: 'vxlan' }, family).field};`),
    ...REFUSALS.map((refusal) => markedSet(offenderSet(refusal, family), `type ifname . ${address}; ${OFFENDERS}`)),
  ]
}

type Input = Parameters<typeof guardObjects>[0]

/** Out of a tunnel: containers of peers, and their hosts by the addresses that the lease names. */
function tunnelRules({ network, own }: Input, { tunnels, own: speaker }: Ingress): readonly string[] {
  if (tunnels.length === 0) return []
  const from = `iifname ${namesText(tunnels)}`
  const itself = speaker === undefined ? [] : [`iifname ${nftName(speaker.device)} ip saddr ${speaker.address} accept`]
  const judged = FAMILIES.map((family) => {
    const refuse = `goto ${offenderSet('inner-source', family)}`
    // A family that the network has not has no peers either.
    if (!network.families.has(family)) return `${from} meta nfproto ipv${family} ${refuse}`
    const ip = nftFamily(family)
    return `${from} ${notASender(network, own, family)} ${ip} saddr != @vteps${family} ${refuse}`
  })
  return [...itself, ...judged]
}

/** On the uplink nothing but what claims to come from the overlay is anybody's business here. */
function linkRules({ network, own, facts }: Input): readonly string[] {
  const from = `iifname ${namesText(judgedLinks(facts))}`
  return [...network.families].map(([family, part]) => {
    const claims = `${nftFamily(family)} saddr ${part.network}`
    return `${from} ${claims} ${notASender(network, own, family)} goto ${offenderSet('direct-source', family)}`
  })
}

function outerRules({ network, own }: Input, { outer }: Ingress): readonly string[] {
  return [...network.families].flatMap(([family, part]) => {
    const source = `${nftFamily(family)} saddr`
    return outer.flatMap((form) => {
      const packet = outerText(form, family)
      if (packet === undefined) return []
      const { filter, field } = innerSource(form, family)
      const mask = numberText(maskOf(family, prefixLength(part.network)))
      const claims = `${filter}${field} & ${mask} == ${numberText(networkAddress(part.network))}`
      const strangers = lengthsOf(network, own, family).map(
        (length) => `${source} . ${field} & ${numberText(maskOf(family, length))} != @paths${family}`,
      )
      return [
        `${packet} ${source} != @vteps${family} goto ${offenderSet('outer-source', family)}`,
        // A peer that speaks for another one's containers.
        `${packet} ${claims} ${strangers.join(' ')} goto ${offenderSet('inner-source', family)}`,
      ]
    })
  })
}

/** Masqueraded, a container's packet would have its host's address, which the other hosts let in. */
function containerRules({ network }: Input, { outer }: Ingress): readonly string[] {
  return [...network.families].flatMap(([family, part]) => {
    const ip = nftFamily(family)
    const way = `${ip} saddr ${part.network} ${ip} daddr @vteps${family}`
    return outer.flatMap((form) => {
      const packet = outerText(form, family)
      return packet === undefined ? [] : [`${packet} ${way} goto ${offenderSet('container', family)}`]
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

/** True of a packet whose device and source, cut to the length of a subnet, are no peer's. */
function notASender(network: NetworkConfig, own: Lease, family: Family): string {
  return lengthsOf(network, own, family)
    .map((length) => `iifname . ${nftFamily(family)} saddr & ${maskOf(family, length)} != @senders${family}`)
    .join(' ')
}

/** Of subnets. */
function lengthsOf(network: NetworkConfig, own: Lease, family: Family): readonly number[] {
  const ownSubnet = own.families.get(family)?.subnet
  const lengths = [network.families.get(family)?.subnetLen, ownSubnet && prefixLength(ownSubnet)]
  return [...new Set(lengths.filter((length) => length !== undefined))]
}

function maskOf(family: Family, length: number): IpAddr {
  const bits = BigInt(addressBits(family))
  return ipFromNumber(family, ((1n << BigInt(length)) - 1n) << (bits - BigInt(length)))
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
  return { name: hook, base: { hook, priority: PRIORITY }, rules: markedRules(GUARD_COMMENT, texts) }
}

function namesText(devices: readonly string[]): string {
  const names = devices.map(nftName)
  return names.length === 1 ? (names[0] ?? '') : `{ ${names.join(', ')} }`
}
