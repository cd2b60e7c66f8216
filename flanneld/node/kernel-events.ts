import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import type { IpAddr } from '../../lib/address.ts'
import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { LeaseSnapshot } from '../../subnet/types.ts'
import type { HostView } from '../host/host-view.ts'
import { RouteEvents } from '../host/route-events.ts'
import type { LevelSet } from './levels.ts'

const NO_LEASES: LeaseSnapshot['leases'] = new Map()

interface Needs {
  readonly reconciler: Reconciler
  readonly host: HostView
  readonly levels: LevelSet
  readonly lifecycle: Lifecycle
  /** What is ours in the kernel, or is going to be. */
  readonly owned: () => OwnershipScope
}

/** Tells the reconciler and the host of what the kernel says; `target`: where the external interface must lead. */
export function kernelListener(
  { reconciler, host, levels, lifecycle, owned }: Needs,
  { target }: { readonly target: IpAddr | undefined },
): (events: readonly KernelEvent[]) => void {
  const routeEvents = new RouteEvents()
  return (events) => {
    try {
      reconciler.onEvents(events)
      const { devices, networks } = owned()
      const leases = levels.current.leases?.leases ?? NO_LEASES
      const interests = { networks: networks.map(({ network }) => network), leases, target }
      host.onEvents(routeEvents.concerning(events, interests), devices)
    } catch (cause) {
      // Thrown at the monitor it would end the hearing of events.
      lifecycle.fault('kernel events', cause)
      reconciler.invalidate('all', 'an event was not digested')
    }
  }
}
