import koffi from 'koffi'
import { AF_INET, bindSocket, closeDescriptor, openSocket, SOCK_DGRAM, setIntegerOption } from './libc.ts'

const libc = koffi.load(null)
// Pointers are numbers here: addresses inside of a NativeMemory, which the caller keeps alive.
const calls = {
  read: libc.func('long read(int, uintptr_t, size_t)'),
  writev: libc.func('long writev(int, uintptr_t, int)'),
  recvmmsg: libc.func('int recvmmsg(int, uintptr_t, uint32_t, int, void *)'),
  sendmmsg: libc.func('int sendmmsg(int, uintptr_t, uint32_t, int)'),
  poll: libc.func('int poll(uintptr_t, unsigned long, int)'),
  usleep: libc.func('int usleep(uint32_t)'),
  eventfd: libc.func('int eventfd(uint32_t, int)'),
}

/** A bound IPv4 UDP socket. */
export interface UdpSocket {
  readonly fd: number
  /** UDP_SEGMENT (Linux 4.18): one message is cut into datagrams by the kernel or the NIC. */
  readonly segmentation: boolean
  /** UDP_GRO (Linux 5.0): a train of equal datagrams of one sender arrives as one message. */
  readonly coalescing: boolean
}

const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const SOL_UDP = 17
const UDP_SEGMENT = 103
const UDP_GRO = 104
const MSG_DONTWAIT = 0x40

/** `address` in network byte order, `bufferBytes` for each direction. Returns the negative errno (EADDRINUSE -98, EADDRNOTAVAIL -99). */
export function openUdpSocket(address: Uint8Array, port: number, bufferBytes: number): UdpSocket | number {
  const fd = openSocket(AF_INET, SOCK_DGRAM, 0)
  if (fd < 0) return fd
  const name = new Uint8Array(16)
  const view = new DataView(name.buffer)
  view.setUint16(0, AF_INET, true)
  view.setUint16(2, port)
  name.set(address, 4)
  const bound = bindSocket(fd, name)
  if (bound < 0) {
    closeDescriptor(fd)
    return bound
  }
  // Beyond net.core.*mem_max only with CAP_NET_ADMIN of the first user namespace.
  if (setIntegerOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, bufferBytes) < 0)
    setIntegerOption(fd, SOL_SOCKET, SO_RCVBUF, bufferBytes)
  if (setIntegerOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, bufferBytes) < 0)
    setIntegerOption(fd, SOL_SOCKET, SO_SNDBUF, bufferBytes)
  return {
    fd,
    segmentation: setIntegerOption(fd, SOL_UDP, UDP_SEGMENT, 0) >= 0,
    coalescing: setIntegerOption(fd, SOL_UDP, UDP_GRO, 1) >= 0,
  }
}

/** A counter that wakes `waitFor`: anyone who knows the descriptor writes eight bytes. */
export function openEvent(): number {
  const EFD_NONBLOCK = 0o4000
  const EFD_CLOEXEC = 0o2000000
  return resultOf(calls.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))
}

// Each of these returns the call's result or the negative errno.

export function readInto(fd: number, pointer: number, length: number): number {
  return resultOf(calls.read(fd, pointer, length))
}

/** `vectors` points at `count` times struct iovec. */
export function writeVectors(fd: number, vectors: number, count: number): number {
  return resultOf(calls.writev(fd, vectors, count))
}

/** `messages` points at `count` times struct mmsghdr. Does not wait; the result is how many were filled. */
export function receiveMessages(fd: number, messages: number, count: number): number {
  return resultOf(calls.recvmmsg(fd, messages, count, MSG_DONTWAIT, null))
}

/** Does not wait; the result is how many were taken, an error is the first one's. */
export function sendMessages(fd: number, messages: number, count: number): number {
  return resultOf(calls.sendmmsg(fd, messages, count, MSG_DONTWAIT))
}

/** `set` points at `count` times struct pollfd. Blocks this thread, up to `timeoutMs` (-1: for ever). */
export function waitFor(set: number, count: number, timeoutMs: number): number {
  return resultOf(calls.poll(set, count, timeoutMs))
}

/** Sleeps at least so many microseconds; the kernel adds some 50 (timer slack of the thread). */
export function rest(microseconds: number): void {
  calls.usleep(microseconds)
}

function resultOf(result: number): number {
  return result < 0 ? -koffi.errno() : result
}
