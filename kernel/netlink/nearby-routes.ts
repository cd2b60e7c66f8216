import type { Cidr, IpAddr } from '../../lib/address.ts'
import { ROUTE_PROTOCOL } from '../objects.ts'
import { AttributeTable, LITTLE } from './attributes.ts'
import { ADDRESS_FAMILY } from './constants.ts'
import { behind, type Message } from './message.ts'
import { type PrefixBytes, prefixBytes, sameBits } from './prefix-bytes.ts'
import { parseRoute, type RouteRecord } from './route-messages.ts'

const RT_TABLE_MAIN = 254
const RTM_F_CLONED = 0x200
const RTMSG_BYTES = 12
const RTNEXTHOP_BYTES = 8
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_MULTIPATH = 9
const RTA_TABLE = 15

/** A gateway of some route; `index`: of the device that leads to it, 0: none. */
export interface GatewayRecord {
  readonly address: IpAddr
  readonly index: number
}

/**
 * For a dump of the main table's routes of one family: keeps those that lie inside a network or around a part of it, default routes and
 * our own apart, and the gateways inside a network of all that are not ours. Compares bytes, and makes texts only of what it keeps: a
 * host with a full BGP table has a million routes, nearly all of them elsewhere, by a few gateways.
 */
export class NearbyRouteFilter {
  readonly #networks: readonly PrefixBytes[]
  readonly #attributes = new AttributeTable(RTA_TABLE)
  readonly #hop = new AttributeTable(RTA_GATEWAY)
  readonly #gateways = new Map<string, GatewayRecord>()
  /** Routes that follow each other in a list have the same gateway, as a rule. */
  #last: { readonly bytes: Uint8Array; readonly index: number } | undefined

  constructor(networks: readonly Cidr[]) {
    this.#networks = networks.map(prefixBytes)
  }

  get gateways(): readonly GatewayRecord[] {
    return [...this.#gateways.values()]
  }

  /** The route, if it is to be kept. */
  parse(message: Message): RouteRecord | undefined {
    behind(message, RTMSG_BYTES)
    const { view, start, end } = message
    const isCopy = (view.getUint32(start + 8, LITTLE) & RTM_F_CLONED) !== 0
    if (isCopy || view.getUint8(start + 5) === ROUTE_PROTOCOL) return undefined
    const attributes = this.#attributes.read(view, start + RTMSG_BYTES, end)
    const table = attributes.has(RTA_TABLE) ? attributes.u32(RTA_TABLE) : view.getUint8(start + 4)
    if (table !== RT_TABLE_MAIN) return undefined
    this.#keepGateways(view)
    const length = view.getUint8(start + 1)
    const isNear = length > 0 && this.#isNear(view, attributes, { type: RTA_DST, length, family: view.getUint8(start) })
    return isNear ? parseRoute(message) : undefined
  }

  #keepGateways(view: DataView): void {
    const attributes = this.#attributes
    this.#keepGateway(view, attributes, attributes.has(RTA_OIF) ? attributes.u32(RTA_OIF) : 0)
    if (!attributes.has(RTA_MULTIPATH)) return
    // struct rtnexthop: length, flags, hops, index; then attributes
    const end = attributes.start(RTA_MULTIPATH) + attributes.length(RTA_MULTIPATH)
    for (let at = attributes.start(RTA_MULTIPATH); at + RTNEXTHOP_BYTES <= end; ) {
      const bytes = view.getUint16(at, LITTLE)
      if (bytes < RTNEXTHOP_BYTES || at + bytes > end) return
      const hop = this.#hop.read(view, at + RTNEXTHOP_BYTES, at + bytes)
      this.#keepGateway(view, hop, view.getInt32(at + 4, LITTLE))
      at += (bytes + 3) & ~3
    }
  }

  #keepGateway(view: DataView, attributes: AttributeTable, index: number): void {
    if (!attributes.has(RTA_GATEWAY)) return
    const bytes = attributes.bytes(RTA_GATEWAY)
    const length = bytes.length * 8
    const last = this.#last
    const isLast = last?.index === index && last.bytes.length === bytes.length
    if (isLast && sameBits(view, attributes.start(RTA_GATEWAY), last.bytes, length)) return
    this.#last = { bytes: bytes.slice(), index }
    const family = length === 32 ? ADDRESS_FAMILY[4] : ADDRESS_FAMILY[6]
    if (!this.#isNear(view, attributes, { type: RTA_GATEWAY, length, family })) return
    const address = attributes.address(RTA_GATEWAY)
    this.#gateways.set(`${address} ${index}`, { address, index })
  }

  #isNear(
    view: DataView,
    attributes: AttributeTable,
    prefix: { type: number; length: number; family: number },
  ): boolean {
    if (!attributes.has(prefix.type)) return false
    const at = attributes.start(prefix.type)
    return this.#networks.some(
      ({ family, bytes, length }) =>
        family === prefix.family && sameBits(view, at, bytes, Math.min(length, prefix.length)),
    )
  }
}
