import { AF_UNIX, closeDescriptor, MSG_DONTWAIT, MSG_NOSIGNAL, openSocket, SOCK_DGRAM, sendBytes } from './libc.ts'

/** Tells the service manager about this process. Never throws: a lost message must not stop the daemon. */
export interface Notifier {
  /** One datagram of `KEY=value` lines, as in `READY=1`. Source: sd_notify(3). */
  send(text: string): void
  close(): void
}

const PATH_BYTES = 107

/** `socketPath` is $NOTIFY_SOCKET: a path, or an abstract name after `@`; undefined or unusable: a notifier that does nothing. */
export function createNotifier(socketPath: string | undefined): Notifier {
  const address = socketPath === undefined ? undefined : unixAddress(socketPath)
  const fd = address === undefined ? -1 : openSocket(AF_UNIX, SOCK_DGRAM, 0)
  if (fd < 0) return { send: () => {}, close: () => {} }
  let open = true
  return {
    send(text) {
      const bytes = Buffer.from(text)
      // Not connected: the manager may have made its socket anew. Not waiting: it may hang, and we are the event loop.
      if (open) sendBytes(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, address)
    },
    close() {
      if (open) closeDescriptor(fd)
      open = false
    },
  }
}

/** struct sockaddr_un; undefined for what is neither an absolute path nor an abstract name, or too long. */
function unixAddress(socketPath: string): Uint8Array | undefined {
  const name = Buffer.from(socketPath)
  if (!/^[/@]./s.test(socketPath) || name.length > PATH_BYTES) return undefined
  const abstract = name[0] === 0x40
  if (abstract) name[0] = 0
  // A path ends with a zero byte; an abstract name ends where the address ends.
  const address = Buffer.alloc(2 + name.length + (abstract ? 0 : 1))
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX
  name.copy(address, 2)
  return address
}
