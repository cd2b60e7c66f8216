import { overlaps } from '../lib/address.ts'
import { changesBetween } from '../lib/persistent-map.ts'
import type { Lease } from './types.ts'

/** Peers that vanished together and are kept for a while, with the time at which each is let go. */
export interface HoldState {
  /** The accepted peers of the last snapshot, held ones not among them. */
  readonly accepted: ReadonlyMap<string, Lease>
  readonly held: ReadonlyMap<string, HeldPeer>
}

export interface HeldPeer {
  readonly lease: Lease
  /** On the clock that never goes back, ms. */
  readonly until: number
}

export const nothingHeld: HoldState = { accepted: new Map(), held: new Map() }

/**
 * A wiped or restored store must not take the network down with it: where one snapshot drops more than max(3, half) of the
 * accepted peers, the missing ones are held until their node publishes again, their subnet is leased to another, or `holdMs`
 * have passed. Smaller losses apply at once. What is in the store still (`isStored`) and not accepted any more, because it or this host has
 * changed, did not vanish: it was judged, and goes at once. Pure; call it for every snapshot, and again when the nearest `until` has come.
 */
export function holdVanished(
  before: HoldState,
  accepted: ReadonlyMap<string, Lease>,
  { now, holdMs, isStored = () => false }: { now: number; holdMs: number; isStored?: (id: string) => boolean },
): HoldState {
  const missing = changesBetween(before.accepted, accepted).flatMap(({ key, before: lease, after }) =>
    lease === undefined || after !== undefined || isStored(key) ? [] : [lease],
  )
  const candidates = new Map([...before.held].filter(([id, { until }]) => until > now && !isStored(id)))
  if (missing.length > Math.max(3, before.accepted.size / 2) && holdMs > 0) {
    for (const lease of missing) candidates.set(lease.id, { lease, until: now + holdMs })
  }
  if (candidates.size === 0) return { accepted, held: candidates }
  const published = new Published([...accepted.values()])
  const held = new Map([...candidates].filter(([, { lease }]) => !published.replaces(lease)))
  return { accepted, held }
}

/** The nodes and subnets of a snapshot, for the question whether a held peer has been superseded. */
class Published {
  readonly #nodes = new Set<string>()
  readonly #addresses = new Set<string>()
  readonly #subnets = new Set<string>()
  readonly #oddLengths: Lease[] = []
  readonly #lengths = new Set<string>()

  constructor(leases: readonly Lease[]) {
    for (const lease of leases) {
      if (lease.node !== '') this.#nodes.add(lease.node)
      for (const { publicIp, subnet } of lease.families.values()) {
        this.#addresses.add(publicIp)
        this.#subnets.add(subnet)
        this.#lengths.add(lengthOf(subnet))
      }
    }
    // In etcd all have one length, and then equality is overlap. Else (rare) pairs are compared.
    if (this.#lengths.size > 2) this.#oddLengths.push(...leases)
  }

  replaces(held: Lease): boolean {
    if (held.node !== '' && this.#nodes.has(held.node)) return true
    const parts = [...held.families.values()]
    if (parts.some(({ publicIp, subnet }) => this.#addresses.has(publicIp) || this.#subnets.has(subnet))) return true
    return this.#oddLengths.some((lease) =>
      [...lease.families.values()].some((part) => parts.some(({ subnet }) => overlaps(part.subnet, subnet))),
    )
  }
}

function lengthOf(subnet: string): string {
  return subnet.slice(subnet.indexOf('/'))
}
