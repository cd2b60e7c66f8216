import type { Family, IpAddr } from '../../lib/address.ts'
import type { NftRule } from '../rules/objects.ts'

/**
 * The ingress guard in nf_tables, one table of the family inet in three kinds: sets and counters, then what each peer may send, then
 * the chains that judge by it. So a chain never stands before the elements without which it would drop everything.
 */
export type GuardObject = GuardSets | GuardPeer | GuardChains

/** The table with its sets and counters. Sets filled by peers and by refused packets outlive every rewriting of the chains. */
export interface GuardSets {
  readonly kind: 'guard-sets'
  readonly table: string
  readonly sets: readonly GuardSet[]
  /** Names of counters. */
  readonly counters: readonly string[]
  /** Of a table that was read: nothing in it bears our mark. */
  readonly alien?: true
}

export interface GuardSet {
  readonly name: string
  /** In nft's words, statements ended by semicolons; empty of a set that was read. */
  readonly body: string
  /** The set's comment, with a fingerprint of the body. */
  readonly mark: string
}

/** All that the guard accepts from one peer in one family; its elements bear the name as their comment. */
export interface GuardPeer {
  readonly kind: 'guard-peer'
  readonly table: string
  readonly family: Family
  /** The peer's subnet, or the address that these elements are about; with a `?` for elements that nobody's name is on. */
  readonly name: string
  /** What is the peer's: its subnet, by its `prefixKey` (lib/prefix-key.ts), as wherever a subnet stands in an element. */
  readonly subnets: readonly IpAddr[]
  /** Sources of outer packets. */
  readonly vteps: readonly IpAddr[]
  /** Which inner sources an outer packet may carry, by its own source. Those of `aliases` are understood. */
  readonly paths: readonly Path[]
  /** Further sources of outer packets; where one bears another peer's name already, that is enough. Absent of what was read. */
  readonly aliases?: readonly IpAddr[]
  /** By device, the subnets that inner packets may come from. */
  readonly senders: readonly Sender[]
}

export interface Sender {
  readonly device: string
  readonly source: IpAddr
}

/** `source`: a subnet. */
export interface Path {
  readonly outer: IpAddr
  readonly source: IpAddr
}

export interface GuardChains {
  readonly kind: 'guard-chains'
  readonly table: string
  readonly chains: readonly GuardChain[]
}

export interface GuardChain {
  readonly name: string
  /** Absent of a chain that others jump to. */
  readonly base?: { readonly hook: GuardHook; readonly priority: number }
  readonly rules: readonly NftRule[]
}

/** `other`: of a chain that was read, any hook that is none of ours. */
export type GuardHook = 'prerouting' | 'input' | 'forward' | 'other'

export function isGuard(object: { readonly kind: string }): object is GuardObject {
  return object.kind === 'guard-sets' || object.kind === 'guard-peer' || object.kind === 'guard-chains'
}

export function keyOfGuard(object: GuardObject): string {
  // Of peers there are thousands: V8 keeps the parts of a concatenation beside the result, but not those of a join.
  if (object.kind === 'guard-peer') return ['guard-peer', object.table, object.name].join(' ')
  return `${object.kind} ${object.table}`
}

/** Both have one key. */
export function compareGuard(actual: GuardObject, desired: GuardObject): 'same' | 'update' | 'recreate' {
  switch (desired.kind) {
    case 'guard-sets':
      return actual.kind === desired.kind && setsText(actual) === setsText(desired) ? 'same' : 'recreate'
    case 'guard-chains':
      return actual.kind === desired.kind && chainsText(actual) === chainsText(desired) ? 'same' : 'update'
    case 'guard-peer':
      return actual.kind === desired.kind && sameElements(actual, desired) ? 'same' : 'update'
  }
}

export function sameSender(a: Sender, b: Sender): boolean {
  return a.source === b.source && a.device === b.device
}

export function samePath(a: Path, b: Path): boolean {
  return a.source === b.source && a.outer === b.outer
}

function sameElements(actual: GuardPeer, desired: GuardPeer): boolean {
  return (
    actual.family === desired.family &&
    actual.senders.length === desired.senders.length &&
    actual.subnets.length === desired.subnets.length &&
    actual.subnets.every((subnet) => desired.subnets.includes(subnet)) &&
    desired.paths.every((path) => actual.paths.some((other) => samePath(path, other))) &&
    actual.paths.every(
      (path) => desired.aliases?.includes(path.outer) || desired.paths.some((other) => samePath(path, other)),
    ) &&
    desired.vteps.every((vtep) => actual.vteps.includes(vtep)) &&
    actual.vteps.every((vtep) => desired.vteps.includes(vtep) || desired.aliases?.includes(vtep)) &&
    (actual.aliases === undefined || actual.aliases.join() === desired.aliases?.join()) &&
    actual.senders.every((sender) => desired.senders.some((other) => sameSender(sender, other)))
  )
}

function setsText({ sets, counters }: GuardSets): string {
  return JSON.stringify([sets.map(({ name, mark }) => [name, mark]).sort(), [...counters].sort()])
}

function chainsText({ chains }: GuardChains): string {
  return JSON.stringify(
    chains
      .map(({ name, base, rules }) => [name, base?.hook, base?.priority, rules.map(({ mark }) => mark)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}
