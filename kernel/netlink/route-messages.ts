import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { networkAddress, prefixLength } from '../../lib/address.ts'
import type { Route } from '../objects.ts'
import { AttributeTable, LITTLE, MessageWriter } from './attributes.ts'
import {
  ADDRESS_FAMILY,
  NLM_F_REQUEST,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTNH_F_ONLINK,
  WRITE_FLAGS,
  type WriteMode,
} from './constants.ts'
import type { DigestForm } from './dump-digest.ts'
import { behind, type Message } from './message.ts'
import type { NexthopIds } from './nexthop-ids.ts'

/** A route as read; `index` 0: no device. */
export interface RouteRecord {
  readonly family: Family
  readonly dst: Cidr
  readonly metric: number
  /** RTN_* number. */
  readonly type: number
  readonly index: number
  readonly via: IpAddr | undefined
  readonly onLink: boolean
  /** Id of the nexthop object that it goes through, whose gateway and device the kernel shows beside it; 0: of none. */
  readonly nexthop: number
  /** RT_SCOPE_* number; IPv6 has but 0. */
  readonly scope: number
  readonly protocol: number
  /** RTA_PREFSRC. */
  readonly source: IpAddr | undefined
}

/** To delete a route through a nexthop object whose id is not known: a gateway would not match. */
export const ANY_NEXTHOP = 0
export const RTN_UNICAST = 1
export const RTN_BLACKHOLE = 6
const RT_TABLE_MAIN = 254
const RT_SCOPE_LINK = 253
const RT_SCOPE_NOWHERE = 255
const RTM_F_CLONED = 0x200
const RTMSG_BYTES = 12
const RTNEXTHOP_BYTES = 8
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PRIORITY = 6
const RTA_PREFSRC = 7
const RTA_MULTIPATH = 9
const RTA_CACHEINFO = 12
const RTA_TABLE = 15
const RTA_VIA = 18
const RTA_EXPIRES = 23
const RTA_NH_ID = 30

const writer = new MessageWriter()
const attributes = new AttributeTable(RTA_NH_ID)
const hop = new AttributeTable(RTA_VIA)
const UNSPECIFIED = { 4: '0.0.0.0', 6: '::' } as const

/** Where a route leads: `index` of its device (0: none), or the id of a nexthop object, which says gateway and device. */
export type Way = { readonly index: number } | { readonly nexthop: number }

/** `ip route add|change [blackhole] DST [nhid ID | [via IP] [dev DEVICE] [onlink]] [metric N] proto N` */
export function writeRoute(route: Route, way: Way, mode: WriteMode, table = RT_TABLE_MAIN): Uint8Array {
  const scope = route.scope === 'link' && route.family === 4 ? RT_SCOPE_LINK : 0
  return routeMessage(RTM_NEWROUTE, WRITE_FLAGS[mode], { route, way, scope, table })
}

/** `ip route del ...`: with everything that tells it from a route of somebody else's at the same key. */
export function deleteRoute(route: Route, way: Way, table = RT_TABLE_MAIN): Uint8Array {
  return routeMessage(RTM_DELROUTE, 0, { route, way, scope: route.family === 4 ? RT_SCOPE_NOWHERE : 0, table })
}

/** `ip route show table TABLE`, of one family. A kernel before 4.20 lists all tables. */
export function dumpRoutes(family: Family, table = RT_TABLE_MAIN): Uint8Array {
  header(RTM_GETROUTE, 0, ADDRESS_FAMILY[family], 0, tableByte(table), 0, 0, 0, 0)
  if (table > RT_TABLE_MAIN) writer.putU32(RTA_TABLE, table)
  return writer.finish()
}

/** For `DumpDigest`: no cached copies. Routes from router advertisements grow older. */
export const ROUTE_FORM: DigestForm = {
  fixedBytes: RTMSG_BYTES,
  volatile: [RTA_CACHEINFO, RTA_EXPIRES],
  counts: ({ view, start }) => (view.getUint32(start + 8, LITTLE) & RTM_F_CLONED) === 0,
}

/** Whether the message is about a route to everywhere. */
export function isDefault({ view, start, end }: Message): boolean {
  return end - start >= RTMSG_BYTES && view.getUint8(start + 1) === 0
}

/** `ip route get IP` */
export function lookUpRoute(family: Family, address: IpAddr): Uint8Array {
  header(RTM_GETROUTE, 0, ADDRESS_FAMILY[family], family === 4 ? 32 : 128, 0, 0, 0, 0, 0)
  return writer.putAddress(RTA_DST, address).finish()
}

/**
 * Undefined for what stands at no key of ours: other tables than the wanted one, routes chosen by type of service or source, cached copies.
 * Of a route with several hops the first is given.
 */
export function parseRoute(message: Message, wanted = RT_TABLE_MAIN): RouteRecord | undefined {
  behind(message, RTMSG_BYTES)
  const { view, start } = message
  const cloned = (view.getUint32(start + 8, LITTLE) & RTM_F_CLONED) !== 0
  if (cloned || view.getUint8(start + 2) !== 0 || view.getUint8(start + 3) !== 0) return undefined
  const family = familyOf(view.getUint8(start))
  if (family === undefined) return undefined
  attributes.read(view, start + RTMSG_BYTES, message.end)
  const table = attributes.has(RTA_TABLE) ? attributes.u32(RTA_TABLE) : view.getUint8(start + 4)
  return table === wanted ? routeRecord(message, family) : undefined
}

/** The answer to `lookUpRoute`: whatever table it came from. */
export function parseLookup(message: Message): RouteRecord | undefined {
  behind(message, RTMSG_BYTES)
  const family = familyOf(message.view.getUint8(message.start))
  if (family === undefined) return undefined
  attributes.read(message.view, message.start + RTMSG_BYTES, message.end)
  return routeRecord(message, family)
}

/** The record as an object; `device` is the name behind its index, `nexthops` says which nexthop objects are ours. */
export function routeOf(record: RouteRecord, device: string | undefined, nexthops: NexthopIds): Route {
  const blackhole = record.type === RTN_BLACKHOLE
  // IPv6 hangs a blackhole on `lo`, IPv4 on nothing. Other types (unreachable, prohibit, ...) become a unicast route without a
  // device: like nothing that is ever wanted, so that somebody's route at a wanted key is seen.
  const reaches = record.type === RTN_UNICAST
  return {
    kind: 'route',
    family: record.family,
    dst: record.dst,
    metric: record.metric,
    type: blackhole ? 'blackhole' : 'unicast',
    ...(reaches && device !== undefined ? { device } : {}),
    ...(reaches && record.via !== undefined ? { via: record.via } : {}),
    ...(reaches && record.onLink ? { onLink: true } : {}),
    ...(reaches && record.scope === RT_SCOPE_LINK ? { scope: 'link' } : {}),
    ...(reaches && record.nexthop > 0 ? { nexthop: nexthopOf(record, device, nexthops) } : {}),
    protocol: record.protocol,
  }
}

function nexthopOf({ nexthop, via }: RouteRecord, device: string | undefined, nexthops: NexthopIds): 'own' | 'other' {
  return device !== undefined && via !== undefined && nexthops.of({ device, via }) === nexthop ? 'own' : 'other'
}

function routeRecord(message: Message, family: Family): RouteRecord {
  const { view, start } = message
  const length = view.getUint8(start + 1)
  const dst = attributes.has(RTA_DST) ? attributes.address(RTA_DST) : UNSPECIFIED[family]
  let nextHop = attributes
  let flags = view.getUint32(start + 8, LITTLE)
  let index = attributes.has(RTA_OIF) ? attributes.u32(RTA_OIF) : 0
  if (attributes.has(RTA_MULTIPATH) && attributes.length(RTA_MULTIPATH) >= RTNEXTHOP_BYTES) {
    // struct rtnexthop: length, flags, hops, index; then attributes
    const first = attributes.start(RTA_MULTIPATH)
    const end = Math.min(view.getUint16(first, LITTLE), attributes.length(RTA_MULTIPATH))
    flags |= view.getUint8(first + 2)
    index = view.getInt32(first + 4, LITTLE)
    nextHop = hop.read(view, first + RTNEXTHOP_BYTES, first + Math.max(end, RTNEXTHOP_BYTES))
  }
  return {
    family,
    dst: `${dst}/${length}` as Cidr,
    metric: attributes.has(RTA_PRIORITY) ? attributes.u32(RTA_PRIORITY) : 0,
    type: view.getUint8(start + 7),
    index,
    via: gatewayOf(nextHop),
    onLink: (flags & RTNH_F_ONLINK) !== 0,
    nexthop: attributes.has(RTA_NH_ID) ? attributes.u32(RTA_NH_ID) : 0,
    scope: view.getUint8(start + 6),
    protocol: view.getUint8(start + 5),
    source: attributes.has(RTA_PREFSRC) ? attributes.address(RTA_PREFSRC) : undefined,
  }
}

function gatewayOf(nextHop: AttributeTable): IpAddr | undefined {
  if (nextHop.has(RTA_GATEWAY)) return nextHop.address(RTA_GATEWAY)
  // A gateway of the other family: struct rtvia, two bytes of family, then the address.
  return nextHop.has(RTA_VIA) ? nextHop.address(RTA_VIA, 2) : undefined
}

function familyOf(number: number): Family | undefined {
  if (number === ADDRESS_FAMILY[4]) return 4
  return number === ADDRESS_FAMILY[6] ? 6 : undefined
}

function routeMessage(
  type: number,
  mode: number,
  {
    route,
    way,
    scope,
    table,
  }: { readonly route: Route; readonly way: Way; readonly scope: number; readonly table: number },
): Uint8Array {
  const family = ADDRESS_FAMILY[route.family]
  const length = prefixLength(route.dst)
  const rtn = route.type === 'blackhole' ? RTN_BLACKHOLE : RTN_UNICAST
  const inline = 'index' in way
  const flags = inline && route.onLink === true ? RTNH_F_ONLINK : 0
  header(type, mode, family, length, tableByte(table), route.protocol, scope, rtn, flags)
  writer.putAddress(RTA_DST, networkAddress(route.dst))
  // The kernel refuses a gateway or a device beside a nexthop object.
  if (!inline && way.nexthop !== ANY_NEXTHOP) writer.putU32(RTA_NH_ID, way.nexthop)
  if (inline && route.via !== undefined) writer.putAddress(RTA_GATEWAY, route.via)
  if (route.metric !== 0) writer.putU32(RTA_PRIORITY, route.metric)
  if (inline && way.index > 0) writer.putU32(RTA_OIF, way.index)
  if (table > RT_TABLE_MAIN) writer.putU32(RTA_TABLE, table)
  return writer.finish()
}

/** A number that has no room in the header stands in an attribute. */
function tableByte(table: number): number {
  return table > RT_TABLE_MAIN ? 0 : table
}

function header(
  type: number,
  mode: number,
  family: number,
  length: number,
  table: number,
  protocol: number,
  scope: number,
  routeType: number,
  flags: number,
): void {
  writer.begin(type, NLM_F_REQUEST | mode)
  // struct rtmsg: family, destination length, source length, type of service, table, protocol, scope, type, flags
  writer.u8(family).u8(length).u8(0).u8(0).u8(table).u8(protocol).u8(scope).u8(routeType).u32(flags)
}
