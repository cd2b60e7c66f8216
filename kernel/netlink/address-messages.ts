import type { Family, IpAddr } from '../../lib/address.ts'
import { LOOPBACK } from '../kinds/address/kind.ts'
import type { Address } from '../objects.ts'
import { AttributeTable, LITTLE, MessageWriter } from './attributes.ts'
import {
  ADDRESS_FAMILY,
  NLM_F_REQUEST,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
  WRITE_FLAGS,
  type WriteMode,
} from './constants.ts'
import { behind, type Message } from './message.ts'

export interface AddressRecord {
  readonly index: number
  readonly family: Family
  readonly address: IpAddr
  readonly length: number
  /** RT_SCOPE_*: 0 global, 253 link, 254 host. */
  readonly scope: number
  /** IFA_F_* bits. */
  readonly flags: number
}

export const IFA_F_TEMPORARY = 0x01
/** Another host has it: duplicate address detection, RFC 4862. */
export const IFA_F_DADFAILED = 0x08
export const IFA_F_DEPRECATED = 0x20
export const IFA_F_TENTATIVE = 0x40
export const IFA_F_PERMANENT = 0x80
const IFA_F_NODAD = 0x02
const IFADDR_BYTES = 8
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_CACHEINFO = 6
const IFA_FLAGS = 8
const RT_SCOPE_UNIVERSE = 0
const RT_SCOPE_HOST = 254
/** struct ifa_cacheinfo: preferred for no time, valid for ever; two times that only the kernel writes. */
const NEVER_PREFERRED = new Uint8Array([0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0])

const writer = new MessageWriter()
const attributes = new AttributeTable(IFA_FLAGS)

/** `ip addr add ADDRESS/LENGTH dev DEVICE [nodad]`; on the loopback device with `scope host` or `preferred_lft 0`. */
export function writeAddress(object: Address, index: number, mode: WriteMode): Uint8Array {
  // Addresses of the overlay are unique by their lease; detection would only leave them tentative for a second.
  return addressMessage(RTM_NEWADDR, WRITE_FLAGS[mode], object, index, object.family === 6 ? IFA_F_NODAD : 0)
}

/** `ip addr del ADDRESS/LENGTH dev DEVICE` */
export function deleteAddress(object: Address, index: number): Uint8Array {
  return addressMessage(RTM_DELADDR, 0, object, index, 0)
}

/** `ip addr show` */
export function dumpAddresses(): Uint8Array {
  return writer.begin(RTM_GETADDR, NLM_F_REQUEST).u32(0).u32(0).finish()
}

/** Undefined for an address of another family. */
export function parseAddress(message: Message): AddressRecord | undefined {
  const at = behind(message, IFADDR_BYTES)
  const { view, start } = message
  const family = view.getUint8(start)
  if (family !== ADDRESS_FAMILY[4] && family !== ADDRESS_FAMILY[6]) return undefined
  attributes.read(view, at, message.end)
  // On a point-to-point device IFA_ADDRESS is the other end; IPv6 without a peer has no IFA_LOCAL.
  const own = attributes.has(IFA_LOCAL) ? IFA_LOCAL : IFA_ADDRESS
  return {
    index: view.getUint32(start + 4, LITTLE),
    family: family === ADDRESS_FAMILY[4] ? 4 : 6,
    address: attributes.address(own),
    length: view.getUint8(start + 1),
    scope: view.getUint8(start + 3),
    flags: attributes.has(IFA_FLAGS) ? attributes.u32(IFA_FLAGS) : view.getUint8(start + 2),
  }
}

/** The kernel gives every IPv6 device such an address by itself; it is nobody's to keep or to remove. */
export function isKernelMade(record: AddressRecord): boolean {
  return record.family === 6 && record.scope === 253 && record.length === 64 && record.address.startsWith('fe80::')
}

function addressMessage(type: number, mode: number, object: Address, index: number, flags: number): Uint8Array {
  const isSpare = type === RTM_NEWADDR && object.device === LOOPBACK
  const scope = isSpare && object.family === 4 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE
  writer.begin(type, NLM_F_REQUEST | mode)
  // struct ifaddrmsg: family, prefix length, flags, scope, index
  writer.u8(ADDRESS_FAMILY[object.family]).u8(object.length).u8(flags).u8(scope).u32(index)
  writer.putAddress(IFA_LOCAL, object.address).putAddress(IFA_ADDRESS, object.address)
  if (isSpare && object.family === 6) writer.putBytes(IFA_CACHEINFO, NEVER_PREFERRED)
  return writer.finish()
}
