import type { IpAddr } from '../../lib/address.ts'
import { familyOf } from '../../lib/address.ts'
import { ROUTE_PROTOCOL } from '../objects.ts'
import { AttributeTable, LITTLE, MessageWriter } from './attributes.ts'
import {
  ADDRESS_FAMILY,
  NLM_F_REQUEST,
  RTM_DELNEXTHOP,
  RTM_GETNEXTHOP,
  RTM_NEWNEXTHOP,
  RTNH_F_ONLINK,
  WRITE_FLAGS,
  type WriteMode,
} from './constants.ts'
import type { DigestForm } from './dump-digest.ts'
import { behind, type Message } from './message.ts'

/** A nexthop object as read. Source: linux/nexthop.h. */
export interface NexthopRecord {
  readonly id: number
  /** RTPROT_* number of who made it. */
  readonly protocol: number
  /** Undefined: a group, a blackhole, one with an encapsulation of its own or without a gateway, none of which is ever made here. */
  readonly gateway: Gateway | undefined
}

export interface Gateway {
  /** Of the device. */
  readonly index: number
  readonly via: IpAddr
  readonly onLink: boolean
}

const NHMSG_BYTES = 8
const NHA_ID = 1
const NHA_GROUP = 2
const NHA_BLACKHOLE = 4
const NHA_OIF = 5
const NHA_GATEWAY = 6
const NHA_ENCAP = 8
const NHA_FDB = 11

const writer = new MessageWriter()
const attributes = new AttributeTable(NHA_FDB)

/** `ip nexthop add|replace id N via IP dev DEVICE onlink proto N` */
export function writeNexthop(
  { id, protocol, gateway }: NexthopRecord & { readonly gateway: Gateway },
  mode: WriteMode,
): Uint8Array {
  const { via, index, onLink } = gateway
  header(RTM_NEWNEXTHOP, WRITE_FLAGS[mode], {
    family: ADDRESS_FAMILY[familyOf(via)],
    protocol,
    flags: onLink ? RTNH_F_ONLINK : 0,
  })
  return writer.putU32(NHA_ID, id).putAddress(NHA_GATEWAY, via).putU32(NHA_OIF, index).finish()
}

/** `ip nexthop del id N`. The routes through it go with it: those of IPv4 without an event. */
export function deleteNexthop(id: number): Uint8Array {
  header(RTM_DELNEXTHOP, 0, { family: 0, protocol: 0, flags: 0 })
  return writer.putU32(NHA_ID, id).finish()
}

/** `ip nexthop get id N` */
export function getNexthop(id: number): Uint8Array {
  header(RTM_GETNEXTHOP, 0, { family: 0, protocol: 0, flags: 0 })
  return writer.putU32(NHA_ID, id).finish()
}

/** `ip nexthop show`, of all families: the kernel cannot be asked for those of one protocol. */
export function dumpNexthops(): Uint8Array {
  header(RTM_GETNEXTHOP, 0, { family: 0, protocol: 0, flags: 0 })
  return writer.finish()
}

/** For `DumpDigest`: those that bear our protocol number. */
export const OWN_NEXTHOP_FORM: DigestForm = { fixedBytes: NHMSG_BYTES, volatile: [], counts: isOwn }

/**
 * Undefined for what bears another protocol number than ours, by its bytes alone: a routing daemon may have 100,000.
 * @throws MalformedMessage
 */
export function parseOwnNexthop(message: Message): NexthopRecord | undefined {
  return isOwn(message) ? parseNexthop(message) : undefined
}

/** @throws MalformedMessage */
export function parseNexthop(message: Message): NexthopRecord {
  const at = behind(message, NHMSG_BYTES)
  const { view, start, end } = message
  attributes.read(view, at, end)
  return { id: attributes.u32(NHA_ID), protocol: view.getUint8(start + 2), gateway: gatewayOf(message) }
}

function isOwn({ view, start, end }: Message): boolean {
  return end - start >= NHMSG_BYTES && view.getUint8(start + 2) === ROUTE_PROTOCOL
}

function gatewayOf({ view, start }: Message): Gateway | undefined {
  if ([NHA_GROUP, NHA_BLACKHOLE, NHA_ENCAP, NHA_FDB].some((type) => attributes.has(type))) return undefined
  if (!attributes.has(NHA_GATEWAY) || !attributes.has(NHA_OIF)) return undefined
  const flags = view.getUint32(start + 4, LITTLE)
  return {
    index: attributes.u32(NHA_OIF),
    via: attributes.address(NHA_GATEWAY),
    onLink: (flags & RTNH_F_ONLINK) !== 0,
  }
}

function header(
  type: number,
  mode: number,
  { family, protocol, flags }: { readonly family: number; readonly protocol: number; readonly flags: number },
): void {
  // struct nhmsg: family, scope (of answers only), protocol, reserved, flags
  writer
    .begin(type, NLM_F_REQUEST | mode)
    .u8(family)
    .u8(0)
    .u8(protocol)
    .u8(0)
    .u32(flags)
}
