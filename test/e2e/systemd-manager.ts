import assert from 'node:assert/strict'
import {
  AF_UNIX,
  bindSocket,
  closeDescriptor,
  MSG_DONTWAIT,
  openSocket,
  receiveBytes,
  SOCK_DGRAM,
} from '../../kernel/ffi/libc.ts'

/** What systemd would hear. */
export class Manager {
  readonly path: string
  readonly #fd: number
  readonly #lines: string[] = []
  readonly #reading: NodeJS.Timeout
  readonly #buffer = Buffer.alloc(4096)

  constructor(path: string) {
    this.path = path
    this.#fd = openSocket(AF_UNIX, SOCK_DGRAM, 0)
    assert.equal(bindSocket(this.#fd, Buffer.concat([Uint8Array.of(AF_UNIX, 0), Buffer.from(path)])), 0)
    // The kernel keeps ten datagrams, as for systemd; what comes while the queue is full is lost.
    this.#reading = setInterval(() => this.told(), 20)
  }

  /** Everything since the beginning, a line each. */
  told(): readonly string[] {
    for (;;) {
      const bytes = receiveBytes(this.#fd, this.#buffer, MSG_DONTWAIT)
      if (bytes < 0) return this.#lines
      this.#lines.push(...this.#buffer.toString('utf8', 0, bytes).split('\n'))
    }
  }

  close(): void {
    clearInterval(this.#reading)
    closeDescriptor(this.#fd)
  }
}
