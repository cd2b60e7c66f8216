import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Route } from '../../kernel/objects.ts'
import type { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import type { IpAddr } from '../../lib/address.ts'
import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { LeaseSnapshot } from '../../subnet/types.ts'
import type { HostView } from '../host/host-view.ts'
import { RouteEvents } from '../host/route-events.ts'
import { FlannelsRoutes } from '../other-daemons/flannels-routes.ts'
import type { LevelSet } from './levels.ts'

const NO_LEASES: LeaseSnapshot['leases'] = new Map()

interface Needs {
  readonly reconciler: Reconciler
  readonly host: HostView
  readonly levels: LevelSet
  readonly lifecycle: Lifecycle
  /** What is ours in the kernel, or is going to be. */
  readonly owned: () => OwnershipScope
  /** Hears of routes to peers that flannel's daemon has made. */
  readonly onFlannelsRoute: (route: Route) => void
}

/** Tells the reconciler and the host of what the kernel says; `target`: where the external interface must lead. */
export function kernelListener(
  { reconciler, host, levels, lifecycle, owned, onFlannelsRoute }: Needs,
  { target }: { readonly target: IpAddr | undefined },
): (events: readonly KernelEvent[]) => void {
  const routeEvents = new RouteEvents()
  const flannelsRoutes = new FlannelsRoutes()
  return (events) => {
    try {
      reconciler.onEvents(events)
      const { devices, networks } = owned()
      const leases = levels.current.leases?.leases ?? NO_LEASES
      const interests = { networks: networks.map(({ network }) => network), leases, target }
      const flannels = flannelsRoutes.lastOf(events, interests.networks, leases)
      if (flannels !== undefined) onFlannelsRoute(flannels)
      host.onEvents(routeEvents.concerning(events, interests), devices)
    } catch (cause) {
      // Thrown at the monitor it would end the hearing of events.
      lifecycle.fault('kernel events', cause)
      reconciler.invalidate('all', 'an event was not digested')
    }
  }
}
