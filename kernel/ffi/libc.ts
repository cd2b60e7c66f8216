import koffi from 'koffi'

// One file loads the C library, so that one place holds every signature. Integers are 64-bit `long` where C has ssize_t.
const libc = koffi.load(null)
const calls = {
  socket: libc.func('int socket(int, int, int)'),
  bind: libc.func('int bind(int, const void *, uint32_t)'),
  sendto: libc.func('long sendto(int, const void *, size_t, int, const void *, uint32_t)'),
  recv: libc.func('long recv(int, void *, size_t, int)'),
  setsockopt: libc.func('int setsockopt(int, int, int, const void *, uint32_t)'),
  getsockname: libc.func('int getsockname(int, void *, void *)'),
  close: libc.func('int close(int)'),
}

/** Numbers of linux/socket.h and its neighbours; the same on every architecture that Node runs on under Linux. */
export const AF_UNIX = 1
export const AF_INET = 2
export const AF_BRIDGE = 7
export const AF_NETLINK = 16
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
export const SOCK_CLOEXEC = 0o2000000
export const MSG_TRUNC = 0x20
export const MSG_DONTWAIT = 0x40
export const MSG_NOSIGNAL = 0x4000

// Every function returns the call's result, or the negative errno: expected outcomes are values, as inside the kernel.

/** A new descriptor, closed on exec. */
export function openSocket(domain: number, type: number, protocol: number): number {
  return resultOf(calls.socket(domain, type | SOCK_CLOEXEC, protocol))
}

export function bindSocket(fd: number, address: Uint8Array): number {
  return resultOf(calls.bind(fd, address, address.length))
}

/** Sends the first `length` bytes as one datagram; `address` undefined: to the peer that the socket has (netlink: the kernel). */
export function sendBytes(fd: number, bytes: Uint8Array, length: number, flags: number, address?: Uint8Array): number {
  return resultOf(calls.sendto(fd, bytes, length, flags, address ?? null, address?.length ?? 0))
}

/** Bytes received; with MSG_TRUNC the datagram's full length, which may exceed the buffer's. */
export function receiveBytes(fd: number, buffer: Uint8Array, flags: number): number {
  return resultOf(calls.recv(fd, buffer, buffer.length, flags))
}

export function setIntegerOption(fd: number, level: number, option: number, value: number): number {
  return resultOf(calls.setsockopt(fd, level, option, Int32Array.of(value), 4))
}

/** Fills `address` with the socket's own address. */
export function socketName(fd: number, address: Uint8Array): number {
  return resultOf(calls.getsockname(fd, address, Uint32Array.of(address.length)))
}

export function closeDescriptor(fd: number): number {
  return resultOf(calls.close(fd))
}

/** Gives memory that was freed back to the system, as malloc_trim(3); where the library has no such function (musl) it does so by itself. */
export function returnFreedMemory(): void {
  let trim: (pad: number) => number
  try {
    trim = libc.func('int malloc_trim(size_t)')
  } catch {
    return
  }
  trim(0)
}

/**
 * Calls `onReadable` from the event loop while there is something to read, an error of the socket included; parks no thread. It may
 * ask for a rest: nothing is called until what it returned has resolved, and never again if that is rejected.
 */
export function watchReadable(fd: number, onReadable: () => Promise<void> | undefined): { close(): void } {
  let closed = false
  const handle = koffi.node.poll(fd, { readable: true }, listener)
  function listener(status: unknown): void {
    if (closed) return
    const rest = onReadable()
    if (closed) return
    if (rest !== undefined) {
      handle.stop()
      rest.then(again, () => {})
      // libuv ends the watch when the socket has an error pending; reading has cleared it by now.
    } else if (typeof status === 'number' && status < 0) again()
  }
  function again(): void {
    if (!closed) handle.start({ readable: true }, listener)
  }
  return {
    close() {
      if (!closed) handle.close()
      closed = true
    },
  }
}

function resultOf(result: number): number {
  return result < 0 ? -koffi.errno() : result
}
