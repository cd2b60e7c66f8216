import type { ObjectKind } from './objects.ts'

interface KindTraits {
  /** Its objects vanish with their device. */
  readonly onDevices: boolean
  /** The kernel tells when one changes; the others are read again by the sweep. */
  readonly events: boolean
  /** What is ours and not wanted is removed. Values and files that others may rely on stay. */
  readonly removed: boolean
  /** Read by a program of its own, so it takes no turns of ours; its events are held back at their source. */
  readonly paced?: true
  /** Kinds whose objects, in the same table, are gone when one of this kind was made anew: they are read again. */
  readonly empties?: readonly ObjectKind[]
}

/** Every kind must be listed here and in `APPLY_ORDER`: that is all the reconciler knows of kinds. */
export const KINDS: Readonly<Record<ObjectKind, KindTraits>> = {
  'fou-port': { onDevices: false, events: false, removed: true },
  link: { onDevices: false, events: true, removed: true },
  sysctl: { onDevices: true, events: false, removed: false },
  address: { onDevices: true, events: true, removed: true },
  // They hang on our own process, which tells of itself.
  'udp-peer': { onDevices: false, events: true, removed: true },
  'udp-proxy': { onDevices: false, events: true, removed: true },
  neighbour: { onDevices: true, events: true, removed: true },
  fdb: { onDevices: true, events: true, removed: true },
  route: { onDevices: true, events: true, removed: true },
  'iptables-chain': { onDevices: false, events: true, removed: true, paced: true },
  'nft-table': { onDevices: false, events: true, removed: true, paced: true },
  'guard-sets': { onDevices: false, events: true, removed: true, empties: ['guard-peer', 'guard-chains'] },
  'guard-peer': { onDevices: false, events: true, removed: true },
  'guard-chains': { onDevices: false, events: true, removed: true },
  file: { onDevices: false, events: false, removed: false },
}

/**
 * One phase per kind. A device that speaks first must find its port open; sysctls below a device's directory need the device; a packet that takes a route must find neighbour
 * and FDB entry in place, and be let in by the guard where it comes back (to the proxy of udp a peer is what a route is elsewhere); a
 * guard judges when all its elements are there; files come last, because a subnet.env that is there means "ready" to other programs.
 */
export const APPLY_ORDER: readonly ObjectKind[] = [
  'fou-port',
  'link',
  'sysctl',
  'address',
  'guard-sets',
  'guard-peer',
  'udp-peer',
  'udp-proxy',
  'neighbour',
  'fdb',
  'route',
  'iptables-chain',
  'nft-table',
  'guard-chains',
  'file',
]

/** Removals come after all phases, the other way round: no route may point at a neighbour that is gone. */
export const REMOVE_ORDER: readonly ObjectKind[] = APPLY_ORDER.filter((kind) => KINDS[kind].removed).reverse()

/** What must be read again when something happened to a device. */
export const KINDS_ON_DEVICES: readonly ObjectKind[] = APPLY_ORDER.filter((kind) => KINDS[kind].onDevices)
