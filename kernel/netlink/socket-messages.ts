import { familyOf, type IpAddr, ipToBytes } from '../../lib/address.ts'
import { MessageWriter } from './attributes.ts'
import { ADDRESS_FAMILY } from './constants.ts'
import type { Message } from './message.ts'

// Source: linux/sock_diag.h, linux/inet_diag.h; net/ipv4/inet_diag.c, inet_diag_bc_run.

export const NETLINK_SOCK_DIAG = 4
const SOCK_DIAG_BY_FAMILY = 20
const INET_DIAG_REQ_BYTECODE = 1
const INET_DIAG_BC_S_COND = 7
const SOCKET_ID_BYTES = 48
const CONDITION_BYTES = 8
const OPERATION_BYTES = 4
const ANY_PORT = 0xffffffff
/** Without TIME_WAIT (bit 6): there is no socket any more, and nothing to be lost but the repetition of a last answer. */
const STATES = 0xfff & ~(1 << 6)

export const IPPROTO_TCP = 6
export const IPPROTO_UDP = 17

const writer = new MessageWriter()

/**
 * `ss -a src ADDRESS`, of TCP (`-t`) or UDP (`-u`), of sockets of IPv4 (`-4`) or IPv6, which may have an IPv4 address, too. The kernel looks
 * through all and lists those alone.
 */
export function dumpSocketsAt(address: IpAddr, protocol: number, family: 4 | 6): Uint8Array {
  writer.begin(SOCK_DIAG_BY_FAMILY, 0)
  writer.u8(ADDRESS_FAMILY[family]).u8(protocol).u8(0).u8(0).u32(STATES)
  return writer.raw(new Uint8Array(SOCKET_ID_BYTES)).putBytes(INET_DIAG_REQ_BYTECODE, isAt(address)).finish()
}

/** One operation: where its condition holds, the end of the program is reached, else a place behind it, which means no. */
function isAt(address: IpAddr): Uint8Array {
  const bytes = ipToBytes(address)
  const length = OPERATION_BYTES + CONDITION_BYTES + bytes.length
  const program = new Uint8Array(length)
  const view = new DataView(program.buffer)
  view.setUint8(0, INET_DIAG_BC_S_COND)
  view.setUint8(1, length)
  view.setUint16(2, length + OPERATION_BYTES, true)
  view.setUint8(4, ADDRESS_FAMILY[familyOf(address)])
  view.setUint8(5, 8 * bytes.length)
  view.setUint32(8, ANY_PORT, true)
  program.set(bytes, OPERATION_BYTES + CONDITION_BYTES)
  return program
}

/** Undefined for what is no socket. */
export function parseSocket(message: Message): true | undefined {
  return message.type === SOCK_DIAG_BY_FAMILY ? true : undefined
}
