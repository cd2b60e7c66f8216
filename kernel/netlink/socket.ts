import {
  AF_NETLINK,
  bindSocket,
  closeDescriptor,
  MSG_DONTWAIT,
  MSG_TRUNC,
  openSocket,
  receiveBytes,
  SOCK_RAW,
  sendBytes,
  setIntegerOption,
  socketName,
  watchReadable,
} from '../ffi/libc.ts'
import { OpFailure } from '../table.ts'
import { LITTLE } from './attributes.ts'
import { errorOf } from './kernel-error.ts'

/** What goes to the kernel and comes from it. Results below zero are negative errno numbers; nothing waits. */
export interface NetlinkSocket {
  /** The address that the kernel knows this socket by. */
  readonly port: number
  /** Sends the first `length` bytes as one datagram; the kernel has done the work when this returns. */
  send(bytes: Uint8Array, length: number): number
  /** The full length of the next datagram, of which `buffer` holds what fits; EAGAIN: there is none. */
  receive(buffer: Uint8Array): number
  /** Calls `onReadable` whenever there is something to receive, an error included, and not before what it returned has resolved. */
  watch(onReadable: () => Promise<void> | undefined): void
  close(): void
}

export interface NetlinkSocketOptions {
  /** Bytes that may wait; kernel memory, used only while something does. */
  readonly queueBytes: number
  /** NETLINK_* number of the part of the kernel to talk to; rtnetlink unless told. */
  readonly protocol?: number
  /** RTNLGRP_* (or what that part calls its groups) numbers of the notifications to hear. */
  readonly groups?: readonly number[]
}

export const EINTR = 4
export const EBADF = 9
export const ENOBUFS = 105

const NETLINK_ROUTE = 0
const SOL_NETLINK = 270
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12
const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_RCVBUFFORCE = 33
const ADDRESS_BYTES = 12

/** A socket to the kernel in the calling thread's network namespace. @throws OpFailure */
export function openNetlinkSocket(options: NetlinkSocketOptions): NetlinkSocket {
  const fd = openSocket(AF_NETLINK, SOCK_RAW, options.protocol ?? NETLINK_ROUTE)
  if (fd < 0) throw new OpFailure(errorOf(-fd))
  const forced = setIntegerOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, options.queueBytes)
  if (forced < 0) setIntegerOption(fd, SOL_SOCKET, SO_RCVBUF, options.queueBytes)
  // None of these is vital: an old kernel answers longer, without a reason, or dumps more than was asked for.
  for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
    setIntegerOption(fd, SOL_NETLINK, option, 1)
  }
  // struct sockaddr_nl: family, padding, port (the kernel chooses), groups as bits
  const address = new Uint8Array(ADDRESS_BYTES)
  const view = new DataView(address.buffer)
  view.setUint16(0, AF_NETLINK, LITTLE)
  for (const group of options.groups ?? []) view.setUint32(8, view.getUint32(8, LITTLE) | (1 << (group - 1)), LITTLE)
  const bound = bindSocket(fd, address)
  if (bound < 0) {
    closeDescriptor(fd)
    throw new OpFailure(errorOf(-bound))
  }
  socketName(fd, address)
  return new OpenSocket(fd, view.getUint32(4, LITTLE))
}

class OpenSocket implements NetlinkSocket {
  readonly port: number
  readonly #fd: number
  #watch: { close(): void } | undefined
  #closed = false

  constructor(fd: number, port: number) {
    this.#fd = fd
    this.port = port
  }

  send(bytes: Uint8Array, length: number): number {
    // The number may be another file's by now.
    return this.#closed ? -EBADF : sendBytes(this.#fd, bytes, length, 0)
  }

  receive(buffer: Uint8Array): number {
    return this.#closed ? -EBADF : receiveBytes(this.#fd, buffer, MSG_DONTWAIT | MSG_TRUNC)
  }

  watch(onReadable: () => Promise<void> | undefined): void {
    if (this.#closed || this.#watch !== undefined) throw new TypeError('a socket is watched once')
    this.#watch = watchReadable(this.#fd, onReadable)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch?.close()
    closeDescriptor(this.#fd)
  }
}
