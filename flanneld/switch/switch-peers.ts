import type { Way } from '../../backends/way.ts'
import type { Family } from '../../lib/address.ts'
import type { Lease } from '../../subnet/types.ts'
import { acceptedBy, sendsBy } from '../node/choose-way.ts'
import type { RefusedWay } from '../node/peer-plan.ts'
import type { SwitchPeer, Verdict } from './switch.ts'

export type LeasedPeer = SwitchPeer & { readonly lease: Lease }

interface Said {
  readonly accepts: ReadonlyMap<Family, readonly string[]>
  readonly sends: readonly string[]
}

/** What the leases of peers say of the ways of this node. A lease that has not changed is read once. */
export class SwitchPeers {
  #keys: ReadonlyMap<Way, string> = new Map()
  #said = new WeakMap<Lease, Said>()

  of(
    leases: Iterable<Lease>,
    keys: ReadonlyMap<Way, string>,
    families: readonly Family[],
    verdict: (id: string, family: Family) => Verdict,
    refused: ReadonlyMap<string, readonly RefusedWay[]>,
  ): readonly LeasedPeer[] {
    const isSame = this.#keys.size === keys.size && [...keys.keys()].every((way) => this.#keys.has(way))
    if (!isSame) this.#said = new WeakMap()
    this.#keys = keys
    const peers: LeasedPeer[] = []
    for (const lease of leases) {
      if (lease.reserved) continue
      const { accepts, sends } = this.#saidBy(lease, families)
      const closed = refused.get(lease.id) ?? []
      for (const [family, accepted] of accepts) {
        const isOnly = accepted.length < 2
        // Without another way there is nothing to prove it for.
        const told = isOnly ? 'confirmed' : lease.node === '' ? 'unasked' : verdict(lease.id, family)
        const ways = closed.flatMap((one) => (one.family === family ? (keys.get(one.way) ?? []) : []))
        peers.push({
          id: lease.id,
          node: lease.node,
          family,
          accepts: accepted,
          refused: ways,
          sends,
          verdict: told,
          lease,
        })
      }
    }
    return peers
  }

  #saidBy(lease: Lease, families: readonly Family[]): Said {
    const known = this.#said.get(lease)
    if (known !== undefined) return known
    const ways = [...this.#keys]
    const all = [...this.#keys.keys()]
    const accepts = new Map<Family, readonly string[]>()
    for (const family of families) {
      if (!lease.families.has(family)) continue
      accepts.set(
        family,
        ways.flatMap(([way, key]) => (acceptedBy(lease, way, family, all) === undefined ? [] : [key])),
      )
    }
    const said = { accepts, sends: ways.flatMap(([way, key]) => (sendsBy(lease, way, all) ? [key] : [])) }
    this.#said.set(lease, said)
    return said
  }
}
