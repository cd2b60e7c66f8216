import { type Cidr, contains, FAMILIES, type Family } from '../../../lib/address.ts'
import type { OwnershipScope } from '../../desired.ts'
import { type NetlinkNeeds, resultOf, sendOps } from '../../netlink/device-batch.ts'
import { DumpDigest } from '../../netlink/dump-digest.ts'
import {
  deleteRoute,
  dumpRoutes,
  parseRoute,
  ROUTE_FORM,
  type RouteRecord,
  routeOf,
  writeRoute,
} from '../../netlink/route-messages.ts'
import { EVERY_ROUTE, type RouteSieve, routeSieve } from '../../netlink/route-sieve.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import type { Route } from './kind.ts'
import { ROUTE_PROTOCOL } from './numbers.ts'

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
  /** Of the last dump: others' routes may come and go without making it another one. */
  #sieve: RouteSieve = EVERY_ROUTE

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
    const counts: typeof ROUTE_FORM.counts = (message) => ROUTE_FORM.counts(message) && this.#sieve(message)
    this.#digests = FAMILIES.map((family) => ({ family, digest: new DumpDigest(needs, { ...ROUTE_FORM, counts }) }))
  }

  async unchanged(): Promise<boolean> {
    for (const { family, digest } of this.#digests) if (!(await digest.unchanged(dumpRoutes(family)))) return false
    return true
  }

  async dump(wanted: Iterable<Route>, scope?: OwnershipScope): Promise<readonly Route[]> {
    const { devices } = this.#needs
    const sieve = scope === undefined ? EVERY_ROUTE : sieveFor(wanted, scope)
    this.#sieve = sieve
    const records: RouteRecord[] = []
    for (const { family, digest } of this.#digests) {
      const found = await digest.dump(dumpRoutes(family), (message) =>
        sieve(message) ? parseRoute(message) : undefined,
      )
      for (const record of found) records.push(record)
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

/** Nearly all that is wanted lies in a network of the scope, so the prefixes are few. */
function sieveFor(wanted: Iterable<Route>, { networks }: OwnershipScope): RouteSieve {
  const prefixes = networks.map(({ network }) => network)
  const outside = Array.from(wanted, ({ dst }) => dst).filter(
    (dst) => !prefixes.some((network) => contains(network, dst)),
  )
  return routeSieve(ROUTE_PROTOCOL, [...prefixes, ...outside])
}

function messageFor({ verb, object }: Op<Route>, index: number): Uint8Array {
  if (verb === 'remove') return deleteRoute(object, { index })
  return writeRoute(object, { index }, verb === 'create' ? 'create' : 'replace')
}

function needsDetour(route: Route): boolean {
  return route.family === 6 && route.onLink === true && route.via !== undefined && route.device !== undefined
}
