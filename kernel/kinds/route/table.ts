import { contains, FAMILIES, type Family } from '../../../lib/address.ts'
import type { OwnershipScope } from '../../desired.ts'
import { type NetlinkNeeds, resultOf, sendOps } from '../../netlink/device-batch.ts'
import { DumpDigest } from '../../netlink/dump-digest.ts'
import { dumpNexthops, parseOwnNexthop } from '../../netlink/nexthop-messages.ts'
import {
  ANY_NEXTHOP,
  deleteRoute,
  dumpRoutes,
  parseRoute,
  ROUTE_FORM,
  type RouteRecord,
  routeOf,
  type Way,
  writeRoute,
} from '../../netlink/route-messages.ts'
import { EVERY_ROUTE, type RouteSieve, routeSieve } from '../../netlink/route-sieve.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import { byDetour } from './detour.ts'
import type { Route } from './kind.ts'
import { ROUTE_PROTOCOL } from './numbers.ts'

type Gateway = Required<Pick<Route, 'device' | 'via'>>

const NO_NEXTHOP: OpError = { code: 'ESTALE', message: 'the nexthop object of the route is gone' }

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
    const { devices, nexthops } = this.#needs
    const sieve = scope === undefined ? EVERY_ROUTE : sieveFor(wanted, scope)
    this.#sieve = sieve
    const records: RouteRecord[] = []
    for (const { family, digest } of this.#digests) {
      const found = await digest.dump(dumpRoutes(family), (message) =>
        sieve(message) ? parseRoute(message) : undefined,
      )
      for (const record of found) records.push(record)
    }
    const completed = await this.#completed(records)
    if (completed.some(({ index }) => index > 0 && devices.nameOf(index) === undefined)) await devices.refresh()
    return completed.map((record) => routeOf(record, devices.nameOf(record.index), nexthops))
  }

  async apply(ops: readonly Op<Route>[]): Promise<readonly OpResult[]> {
    const verdicts = await this.#send(ops)
    for (const [at, op] of ops.entries()) {
      const code = verdicts[at]?.code
      const gateway = gatewayOf(op.object)
      if (op.verb === 'remove' || code === undefined) continue
      if (code === 'EEXIST' && op.verb !== 'create') verdicts[at] = await this.#withoutDuplicate(op)
      else if (code === 'EINVAL' && op.object.nexthop === 'own') verdicts[at] = NO_NEXTHOP
      else if (code === 'EINVAL' && gateway !== undefined)
        verdicts[at] = await byDetour(this.#needs, gateway, (index) => this.#message(op, index))
    }
    return verdicts.map(resultOf)
  }

  // An equal route was appended behind another one: the kernel refuses to replace the front one by a second copy.
  async #withoutDuplicate(op: Op<Route>): Promise<OpError | undefined> {
    const [, verdict] = await this.#send([{ verb: 'remove', object: op.object }, op])
    return verdict
  }

  #send(ops: readonly Op<Route>[]): Promise<(OpError | undefined)[]> {
    return sendOps(this.#needs, ops, (op, index) => this.#message(op, index))
  }

  #message({ verb, object }: Op<Route>, index: number): Uint8Array {
    const way = this.#wayOf(object, index)
    if (verb === 'remove') return deleteRoute(object, way)
    return writeRoute(object, way, verb === 'create' ? 'create' : 'replace')
  }

  #wayOf({ device, via, nexthop }: Route, index: number): Way {
    if (nexthop === undefined || device === undefined || via === undefined) return { index }
    return { nexthop: nexthop === 'own' ? this.#needs.nexthops.of({ device, via }) : ANY_NEXTHOP }
  }

  // With net.ipv4.nexthop_compat_mode=0 the kernel says no more than the number.
  async #completed(records: readonly RouteRecord[]): Promise<readonly RouteRecord[]> {
    const isBare = ({ protocol, nexthop, via }: RouteRecord) =>
      protocol === ROUTE_PROTOCOL && nexthop > 0 && via === undefined
    if (!records.some(isBare)) return records
    const nexthops = await this.#needs.channel.dump(dumpNexthops(), parseOwnNexthop)
    const gateways = new Map(nexthops.map(({ id, gateway }) => [id, gateway]))
    return records.map((record) => (isBare(record) ? { ...record, ...gateways.get(record.nexthop) } : record))
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

/** Of IPv6, and on-link: what may need a detour. */
function gatewayOf({ family, onLink, device, via }: Route): Gateway | undefined {
  return family === 6 && onLink === true && device !== undefined && via !== undefined ? { device, via } : undefined
}
