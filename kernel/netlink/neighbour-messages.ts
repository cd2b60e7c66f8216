import type { Family, IpAddr, MacAddr } from '../../lib/address.ts'
import { AF_BRIDGE } from '../ffi/libc.ts'
import type { Fdb, Neighbour } from '../objects.ts'
import { AttributeTable, LITTLE, MessageWriter } from './attributes.ts'
import {
  ADDRESS_FAMILY,
  NLM_F_CREATE,
  NLM_F_REQUEST,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  WRITE_FLAGS,
  type WriteMode,
} from './constants.ts'
import type { DigestForm } from './dump-digest.ts'
import { behind, type Message } from './message.ts'

/** An entry of a neighbour table or of a forwarding database. Source: linux/neighbour.h. */
export interface NeighbourRecord {
  /** `bridge`: a forwarding database, whose `address` is the far VTEP, absent on ports of a bridge. */
  readonly family: Family | 'bridge'
  readonly index: number
  /** NUD_* bits. */
  readonly state: number
  /** NTF_* bits. */
  readonly flags: number
  readonly address: IpAddr | undefined
  readonly mac: MacAddr | undefined
}

export const NUD_PERMANENT = 0x80
const NUD_NOARP = 0x40
const NUD_INCOMPLETE = 0x01
const NUD_FAILED = 0x20
const NTF_USE = 0x01
const NTF_SELF = 0x02
const NTF_PROXY = 0x08
const NDMSG_BYTES = 12
const NDA_DST = 1
const NDA_LLADDR = 2
const NDA_CACHEINFO = 3
const NDA_PROBES = 4
const NDA_IFINDEX = 8

const writer = new MessageWriter()
const attributes = new AttributeTable(NDA_LLADDR)

/** `ip neigh add|replace ADDRESS lladdr MAC dev DEVICE nud permanent` */
export function writeNeighbour(object: Neighbour, index: number, mode: WriteMode): Uint8Array {
  header(RTM_NEWNEIGH, WRITE_FLAGS[mode], ADDRESS_FAMILY[object.family], index, NUD_PERMANENT, 0)
  return writer.putAddress(NDA_DST, object.address).putMac(NDA_LLADDR, object.mac).finish()
}

/** `ip neigh del ADDRESS dev DEVICE` */
export function deleteNeighbour(object: Neighbour, index: number): Uint8Array {
  header(RTM_DELNEIGH, 0, ADDRESS_FAMILY[object.family], index, NUD_PERMANENT, 0)
  return writer.putAddress(NDA_DST, object.address).finish()
}

/** `ip neigh get ADDRESS dev DEVICE` */
export function getNeighbour(object: { family: Family; address: IpAddr }, index: number): Uint8Array {
  header(RTM_GETNEIGH, 0, ADDRESS_FAMILY[object.family], index, 0, 0)
  return writer.putAddress(NDA_DST, object.address).finish()
}

/** `ip neigh add ADDRESS dev DEVICE use`: the kernel resolves the address as if a packet were to be sent. */
export function useNeighbour(object: { family: Family; address: IpAddr }, index: number): Uint8Array {
  header(RTM_NEWNEIGH, NLM_F_CREATE, ADDRESS_FAMILY[object.family], index, 0, NTF_USE)
  return writer.putAddress(NDA_DST, object.address).finish()
}

/** `ip neigh show`, of one device where `index` is given. */
export function dumpNeighbours(index?: number): Uint8Array {
  header(RTM_GETNEIGH, 0, 0, 0, 0, 0)
  if (index !== undefined) writer.putU32(NDA_IFINDEX, index)
  return writer.finish()
}

/** `bridge fdb add|replace MAC dev DEVICE dst IP self permanent` */
export function writeFdb(object: Fdb, index: number, mode: WriteMode): Uint8Array {
  return fdbMessage(RTM_NEWNEIGH, WRITE_FLAGS[mode], object, index)
}

/** `bridge fdb del MAC dev DEVICE dst IP self permanent` */
export function deleteFdb(object: Fdb, index: number): Uint8Array {
  return fdbMessage(RTM_DELNEIGH, 0, object, index)
}

/** `bridge fdb show` */
export function dumpFdb(): Uint8Array {
  header(RTM_GETNEIGH, 0, AF_BRIDGE, 0, 0, 0)
  return writer.finish()
}

/** For `DumpDigest`: permanent entries only. How long ago one was used or confirmed, and how often probed, is no change. */
export const NEIGHBOUR_FORM: DigestForm = {
  fixedBytes: NDMSG_BYTES,
  volatile: [NDA_CACHEINFO, NDA_PROBES],
  counts: ({ view, start }) => (view.getUint16(start + 8, LITTLE) & NUD_PERMANENT) !== 0,
}

/** Undefined for other families and for proxy entries, which lie in a table of their own. */
export function parseNeighbour(message: Message): NeighbourRecord | undefined {
  const at = behind(message, NDMSG_BYTES)
  const { view, start } = message
  const family = familyOf(view.getUint8(start))
  const flags = view.getUint8(start + 10)
  if (family === undefined || flags & NTF_PROXY) return undefined
  attributes.read(view, at, message.end)
  return {
    family,
    index: view.getInt32(start + 4, LITTLE),
    state: view.getUint16(start + 8, LITTLE),
    flags,
    address: attributes.has(NDA_DST) ? attributes.address(NDA_DST) : undefined,
    mac: attributes.mac(NDA_LLADDR),
  }
}

/** Undefined for an entry that is no permanent neighbour. */
export function neighbourOf(record: NeighbourRecord, device: string): Neighbour | undefined {
  const { family, address, mac, state } = record
  if (family === 'bridge' || address === undefined || mac === undefined || !(state & NUD_PERMANENT)) return undefined
  return { kind: 'neighbour', family, device, address, mac }
}

/** Undefined for an entry without a far VTEP, and for one that the device has learnt. */
export function fdbOf(record: NeighbourRecord, device: string): Fdb | undefined {
  const { family, address: dst, mac, state } = record
  if (family !== 'bridge' || dst === undefined || mac === undefined || !(state & NUD_PERMANENT)) return undefined
  return { kind: 'fdb', device, mac, dst }
}

/** `answered`: a reply is known, however old. `open`: asked, or not tried. `failed`: nobody replied. */
export type Resolution = 'answered' | 'open' | 'failed'

export function resolutionOf({ state }: NeighbourRecord): Resolution {
  if (state & NUD_FAILED) return 'failed'
  return state === 0 || state & NUD_INCOMPLETE ? 'open' : 'answered'
}

function familyOf(number: number): Family | 'bridge' | undefined {
  if (number === ADDRESS_FAMILY[4]) return 4
  if (number === ADDRESS_FAMILY[6]) return 6
  return number === AF_BRIDGE ? 'bridge' : undefined
}

function fdbMessage(type: number, mode: number, object: Fdb, index: number): Uint8Array {
  header(type, mode, AF_BRIDGE, index, NUD_PERMANENT | NUD_NOARP, NTF_SELF)
  return writer.putMac(NDA_LLADDR, object.mac).putAddress(NDA_DST, object.dst).finish()
}

function header(type: number, mode: number, family: number, index: number, state: number, flags: number): void {
  writer.begin(type, NLM_F_REQUEST | mode)
  // struct ndmsg: family, padding, index, state, flags, type
  writer.u8(family).u8(0).u16(0).u32(index).u16(state).u8(flags).u8(0)
}
