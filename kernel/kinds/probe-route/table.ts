import { FAMILIES, type Family } from '../../../lib/address.ts'
import { type NetlinkNeeds, resultOf, sendOps } from '../../netlink/device-batch.ts'
import { deleteRoute, dumpRoutes, parseRoute, type RouteRecord, writeRoute } from '../../netlink/route-messages.ts'
import { type ObjectTable, type Op, OpFailure, type OpResult } from '../../table.ts'
import { byDetour } from '../route/detour.ts'
import type { Route } from '../route/kind.ts'
import { defaultMetric, ROUTE_PROTOCOL } from '../route/numbers.ts'
import { PROBE_TABLE, type ProbeRoute } from './kind.ts'

/** Routes of our protocol in the table of probes, which the kernel has only while there is one. */
export class ProbeRouteTable implements ObjectTable<ProbeRoute> {
  readonly kind = 'probe-route'
  readonly #needs: NetlinkNeeds

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
  }

  async dump(): Promise<readonly ProbeRoute[]> {
    const { devices } = this.#needs
    const records = (await Promise.all(FAMILIES.map((family) => this.#read(family)))).flat()
    const own = records.filter(({ protocol }) => protocol === ROUTE_PROTOCOL)
    if (own.some(({ index }) => index > 0 && devices.nameOf(index) === undefined)) await devices.refresh()
    return own.map(({ family, dst, via, index, onLink }) => ({
      kind: 'probe-route',
      family,
      dst,
      device: devices.nameOf(index) ?? '',
      ...(via === undefined ? {} : { via }),
      ...(onLink ? { onLink } : {}),
    }))
  }

  async apply(ops: readonly Op<ProbeRoute>[]): Promise<readonly OpResult[]> {
    const verdicts = await sendOps(this.#needs, ops, message)
    for (const [at, op] of ops.entries()) {
      const { family, device, via } = op.object
      if (op.verb === 'remove' || family === 4 || via === undefined || verdicts[at]?.code !== 'EINVAL') continue
      // The gateway of a tunnel lies in the peer's subnet, to which the way in use leads.
      verdicts[at] = await byDetour(this.#needs, { device, via }, (index) => message(op, index))
    }
    return verdicts.map(resultOf)
  }

  async #read(family: Family): Promise<readonly RouteRecord[]> {
    try {
      return await this.#needs.channel.dump(dumpRoutes(family, PROBE_TABLE), (message) =>
        parseRoute(message, PROBE_TABLE),
      )
    } catch (cause) {
      if (cause instanceof OpFailure && cause.code === 'ENOENT') return []
      throw cause
    }
  }
}

function message({ verb, object }: Op<ProbeRoute>, index: number): Uint8Array {
  const route = routeOf(object)
  if (verb === 'remove') return deleteRoute(route, { index }, PROBE_TABLE)
  return writeRoute(route, { index }, verb === 'create' ? 'create' : 'replace', PROBE_TABLE)
}

function routeOf({ family, dst, device, via, onLink }: ProbeRoute): Route {
  return {
    kind: 'route',
    family,
    dst,
    device,
    metric: defaultMetric(family),
    type: 'unicast',
    protocol: ROUTE_PROTOCOL,
    ...(via === undefined ? ({ scope: 'link' } as const) : { via }),
    ...(onLink ? { onLink } : {}),
  }
}
