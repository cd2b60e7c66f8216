import type { MacAddr } from '../../lib/address.ts'
import type { Link, LinkDriver, MadeDriver } from '../objects.ts'
import { AttributeTable, LITTLE, MessageWriter } from './attributes.ts'
import { ADDRESS_FAMILY, NLM_F_REQUEST, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, WRITE_FLAGS } from './constants.ts'
import { type DriverRecord, IFLA_INFO_DATA, IFLA_INFO_KIND } from './drivers/driver-codec.ts'
import { codecFor } from './drivers/drivers.ts'
import { behind, type Message } from './message.ts'

/** What a message says of a device. */
export interface LinkRecord {
  readonly index: number
  readonly name: string
  readonly mtu: number
  /** IFF_* bits. */
  readonly flags: number
  /** IF_OPER_* (RFC 2863): 6 is up, 0 unknown, which software devices stay at. */
  readonly operState: number
  readonly mac: MacAddr | undefined
  /** IFLA_INFO_KIND; empty for hardware. */
  readonly kind: string
  /** Index of the bridge, bond or VRF that it is a port of; 0: none. */
  readonly master: number
  /** Undefined for a kind that is not looked into. */
  readonly made: DriverRecord | undefined
}

export const IFF_UP = 0x1
export const IFF_LOOPBACK = 0x8
/** Up, and with a carrier where it can tell. */
export const IFF_RUNNING = 0x40
const IFINFO_BYTES = 16
const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFLA_MASTER = 10
const IFLA_OPERSTATE = 16
const IFLA_LINKINFO = 18
const IFLA_AF_SPEC = 26
const IFLA_EXT_MASK = 29
/** Within the part of AF_INET. Source: linux/ip.h and linux/if_link.h. */
const IFLA_INET_CONF = 1
const IPV4_DEVCONF_RP_FILTER = 8
/** Statistics are the largest part of a link message. */
const RTEXT_FILTER_SKIP_STATS = 8

const writer = new MessageWriter()
const attributes = new AttributeTable(IFLA_EXT_MASK)
const linkInfo = new AttributeTable(IFLA_INFO_DATA)

/** `ip link add NAME address MAC mtu N up type KIND ...`; the words of each kind stand with its codec. */
export function createLink(link: Link, driver: MadeDriver, underlayIndex: number): Uint8Array {
  header(RTM_NEWLINK, WRITE_FLAGS.create, 0, link.up ? IFF_UP : 0, IFF_UP)
  if (link.mac !== undefined) writer.putMac(IFLA_ADDRESS, link.mac)
  writer.putU32(IFLA_MTU, link.mtu).putText(IFLA_IFNAME, link.name)
  putDriver(driver.type, () => codecFor(driver.type)?.putNew(writer, driver, underlayIndex))
  return writer.finish()
}

/** `ip link set dev NAME mtu N address MAC up|down`; what is the same in `actual` is left out, for setting it has side effects. */
export function changeLink(index: number, link: Link, actual: Link): Uint8Array {
  const changesFlags = link.up !== actual.up
  header(RTM_NEWLINK, 0, index, changesFlags && link.up ? IFF_UP : 0, changesFlags ? IFF_UP : 0)
  if (link.mtu !== actual.mtu) writer.putU32(IFLA_MTU, link.mtu)
  if (link.mac !== undefined && link.mac !== actual.mac) writer.putMac(IFLA_ADDRESS, link.mac)
  return writer.finish()
}

/** `ip link set dev NAME type KIND ...`: what of a device's driver may change while it lives. */
export function changeDriver(index: number, driver: MadeDriver, underlayIndex: number): Uint8Array {
  header(RTM_NEWLINK, 0, index, 0, 0)
  putDriver(driver.type, () => codecFor(driver.type)?.putLive(writer, driver, underlayIndex))
  return writer.finish()
}

/** `net/ipv4/conf/NAME/rp_filter`, for where /proc/sys is read-only, as in a container without privileges. */
export function changeReversePath(index: number, value: number): Uint8Array {
  header(RTM_NEWLINK, 0, index, 0, 0)
  writer.nest(IFLA_AF_SPEC, () => {
    writer.nest(ADDRESS_FAMILY[4], () => {
      writer.nest(IFLA_INET_CONF, () => writer.putU32(IPV4_DEVCONF_RP_FILTER, value))
    })
  })
  return writer.finish()
}

/** `ip link del NAME`, by index: the name may be another device's by now. */
export function deleteLink(index: number): Uint8Array {
  header(RTM_DELLINK, 0, index, 0, 0)
  return writer.finish()
}

/** `ip link show NAME` */
export function getLink(name: string): Uint8Array {
  header(RTM_GETLINK, 0, 0, 0, 0)
  return writer.putU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS).putText(IFLA_IFNAME, name).finish()
}

/** `ip link show` */
export function dumpLinks(): Uint8Array {
  header(RTM_GETLINK, 0, 0, 0, 0)
  return writer.putU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS).finish()
}

/** Undefined for a message that is not about a device as such (the bridge repeats its ports' under AF_BRIDGE). */
export function parseLink(message: Message): LinkRecord | undefined {
  const at = behind(message, IFINFO_BYTES)
  if (message.view.getUint8(message.start) !== 0) return undefined
  attributes.read(message.view, at, message.end)
  if (!attributes.has(IFLA_IFNAME)) return undefined
  linkInfo.readNested(attributes, IFLA_LINKINFO)
  const kind = linkInfo.has(IFLA_INFO_KIND) ? linkInfo.text(IFLA_INFO_KIND) : ''
  return {
    index: message.view.getInt32(message.start + 4, LITTLE),
    name: attributes.text(IFLA_IFNAME),
    mtu: attributes.has(IFLA_MTU) ? attributes.u32(IFLA_MTU) : 0,
    flags: message.view.getUint32(message.start + 8, LITTLE),
    operState: attributes.has(IFLA_OPERSTATE) ? attributes.u8(IFLA_OPERSTATE) : 0,
    mac: attributes.mac(IFLA_ADDRESS),
    kind,
    master: attributes.has(IFLA_MASTER) ? attributes.u32(IFLA_MASTER) : 0,
    made: codecFor(kind)?.read(linkInfo),
  }
}

/** The record as an object; `nameOf` turns the underlay's index into its name. */
export function linkOf(record: LinkRecord, nameOf: (index: number) => string | undefined): Link {
  return {
    kind: 'link',
    name: record.name,
    mtu: record.mtu,
    ...(record.mac === undefined ? {} : { mac: record.mac }),
    up: (record.flags & IFF_UP) !== 0,
    driver: driverOf(record, nameOf),
  }
}

function driverOf(record: LinkRecord, nameOf: (index: number) => string | undefined): LinkDriver {
  if (record.made === undefined) return { type: 'other', name: record.kind }
  const { driver, underlayIndex } = record.made
  if (underlayIndex === 0 || driver.type === 'tun') return driver
  // A device in another namespace, or one that is gone, has a number here but no name.
  return { ...driver, underlay: nameOf(underlayIndex) ?? `#${underlayIndex}` }
}

function putDriver(kind: string, putOptions: () => void): void {
  writer.nest(IFLA_LINKINFO, () => {
    writer.putBareText(IFLA_INFO_KIND, kind)
    writer.nest(IFLA_INFO_DATA, putOptions)
  })
}

function header(type: number, mode: number, index: number, flags: number, change: number): void {
  writer.begin(type, NLM_F_REQUEST | mode)
  // struct ifinfomsg: family, padding, hardware type, index, flags, mask of changed flags
  writer.u8(0).u8(0).u16(0).u32(index).u32(flags).u32(change)
}
