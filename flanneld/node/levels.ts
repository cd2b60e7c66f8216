import type { Way } from '../../backends/way.ts'
import type { IpAddr } from '../../lib/address.ts'
import { Latest } from '../../lib/latest.ts'
import type { LeaseSnapshot } from '../../subnet/types.ts'
import type { HostView } from '../host/host-view.ts'
import type { LeaseState } from '../leases/lease-keeper.ts'
import type { Configuration } from './configuration.ts'
import type { TrafficOptions } from './traffic-rules.ts'

/** All that a plan is made from. Each level is absent until it is known and is replaced whenever it changes; none is known once for all. */
export interface Levels {
  /** In use: the last good one. */
  readonly configuration?: Configuration
  readonly leases?: LeaseSnapshot
  /** With the own lease at most, for a node that need not wait for the others; they may be known by now. */
  readonly ownFirst?: LeaseSnapshot
  /** Read at least once. */
  readonly host?: HostView
  readonly storeAddresses?: readonly IpAddr[]
  /** Every way in which this node can send and receive now, the preferred one first; one at least. */
  readonly ways?: readonly [Way, ...Way[]]
  /** Of this node. */
  readonly lease?: LeaseState
  /** Of the addresses that stay on the loopback device those that no socket has any more; absent: none is known. */
  readonly unusedAddresses?: ReadonlySet<IpAddr>
  /** Where rules go. */
  readonly traffic?: TrafficOptions
}

/** All leases, or before they are known the own one; undefined: nothing is known of either. */
export function leasesSoFar({ leases, ownFirst }: Levels): LeaseSnapshot | undefined {
  return leases ?? ownFirst
}

/** The levels as they are now. */
export class LevelSet {
  readonly changes = new Latest<Levels>('levels')

  get current(): Levels {
    return this.changes.current ?? {}
  }

  set(more: Levels): void {
    this.changes.set({ ...this.current, ...more })
  }

  /** Until all of these are known. Rejects with the signal's reason. */
  async known(names: readonly (keyof Levels)[], signal: AbortSignal): Promise<void> {
    await this.until((levels) => names.every((name) => levels[name] !== undefined), signal)
  }

  /** Rejects with the signal's reason. */
  async until(isSo: (levels: Levels) => boolean, signal: AbortSignal): Promise<void> {
    for await (const levels of this.changes.watch(signal)) if (isSo(levels)) return
    throw signal.reason
  }
}
