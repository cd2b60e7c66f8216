import { type Cidr, FAMILIES, type Family } from '../../lib/address.ts'
import { DumpDigest } from '../netlink/dump-digest.ts'
import {
  deleteRoute,
  dumpRoutes,
  parseRoute,
  ROUTE_FORM,
  type RouteRecord,
  routeOf,
  writeRoute,
} from '../netlink/route-messages.ts'
import type { Route } from '../objects.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../table.ts'
import { type NetlinkNeeds, resultOf, sendOps } from './device-batch.ts'

/** Metric of a route that exists for the blink of a replacement, so that it meets no other. */
const DETOUR_METRIC = 4_294_967_293

/**
 * Routes of the main table. Routes by type of service or source have keys of their own and are left out. Of several routes at
 * one key (`ip route append`) the kernel uses the first that is listed.
 */
export class RouteTable implements ObjectTable<Route> {
  readonly kind = 'route'
  readonly #needs: NetlinkNeeds
  readonly #digests: readonly { readonly family: Family; readonly digest: DumpDigest }[]

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
    this.#digests = FAMILIES.map((family) => ({ family, digest: new DumpDigest(needs, ROUTE_FORM) }))
  }

  async unchanged(): Promise<boolean> {
    for (const { family, digest } of this.#digests) if (!(await digest.unchanged(dumpRoutes(family)))) return false
    return true
  }

  async dump(): Promise<readonly Route[]> {
    const { devices } = this.#needs
    const records: RouteRecord[] = []
    for (const { family, digest } of this.#digests) {
      for (const record of await digest.dump(dumpRoutes(family), parseRoute)) records.push(record)
    }
    if (records.some(({ index }) => index > 0 && devices.nameOf(index) === undefined)) await devices.refresh()
    return records.map((record) => routeOf(record, devices.nameOf(record.index)))
  }

  async apply(ops: readonly Op<Route>[]): Promise<readonly OpResult[]> {
    const verdicts = await sendOps(this.#needs, ops, messageFor)
    for (const [at, op] of ops.entries()) {
      const code = verdicts[at]?.code
      if (op.verb === 'remove' || code === undefined) continue
      if (code === 'EEXIST' && op.verb !== 'create') verdicts[at] = await this.#withoutDuplicate(op)
      else if (code === 'EINVAL' && needsDetour(op.object)) verdicts[at] = await this.#withDetour(op)
    }
    return verdicts.map(resultOf)
  }

  // An equal route was appended behind another one: the kernel refuses to replace the front one by a second copy.
  async #withoutDuplicate(op: Op<Route>): Promise<OpError | undefined> {
    const duplicate: Op<Route> = { verb: 'remove', object: op.object }
    const [, verdict] = await sendOps(this.#needs, [duplicate, op], messageFor)
    return verdict
  }

  // IPv6 looks up an on-link gateway as an address. While the route to be replaced leads to it over another device (a direct path
  // whose peer goes back into the tunnel: the gateway lies in the very subnet), the new one is refused as a mismatch.
  async #withDetour(op: Op<Route>): Promise<OpError | undefined> {
    const { via, onLink: _onLink, ...rest } = op.object
    const object: Route = { ...rest, dst: `${via}/128` as Cidr, metric: DETOUR_METRIC }
    // In one batch: packets to the gateway's own address take the detour for as long as the kernel handles three messages. Should
    // we die in between, the detour is a route of ours that nobody wants.
    const batch: Op<Route>[] = [{ verb: 'create', object }, op, { verb: 'remove', object }]
    const [, verdict] = await sendOps(this.#needs, batch, messageFor)
    return verdict
  }
}

function messageFor({ verb, object }: Op<Route>, index: number): Uint8Array {
  if (verb === 'remove') return deleteRoute(object, index)
  return writeRoute(object, index, verb === 'create' ? 'create' : 'replace')
}

function needsDetour(route: Route): boolean {
  return route.family === 6 && route.onLink === true && route.via !== undefined && route.device !== undefined
}
