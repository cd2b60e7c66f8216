import { createHash, type Hash } from 'node:crypto'
import { align4, LITTLE } from './attributes.ts'
import type { NetlinkChannel } from './channel.ts'
import type { Message } from './message.ts'

export interface DigestForm {
  /** Of the fields before the attributes. */
  readonly fixedBytes: number
  /** Attributes that change by themselves, as ages do. */
  readonly volatile: readonly number[]
  /** Which messages count at all. */
  readonly counts: (message: Message) => boolean
}

/**
 * Remembers a list of the kernel's by its hash, so that one can ask whether it is still the same: without making thousands of
 * objects, at a hundredth of the cost of reading it again.
 */
export class DumpDigest {
  readonly #channel: Pick<NetlinkChannel, 'dump'>
  readonly #form: DigestForm
  #known: string | undefined

  constructor(needs: { channel: Pick<NetlinkChannel, 'dump'> }, form: DigestForm) {
    this.#channel = needs.channel
    this.#form = form
  }

  /** As `NetlinkChannel.dump`; the list is remembered. @throws OpFailure */
  async dump<T>(request: Uint8Array, parse: (message: Message) => T | undefined): Promise<T[]> {
    this.#known = undefined
    const { see, hash } = this.#collect()
    const found = await this.#channel.dump(request, (message) => {
      see(message)
      return parse(message)
    })
    this.#known = hash()
    return found
  }

  /** Whether a dump would show what the last one did, in its order. @throws OpFailure */
  async unchanged(request: Uint8Array): Promise<boolean> {
    const known = this.#known
    if (known === undefined) return false
    const { see, hash } = this.#collect()
    await this.#channel.dump(request, see)
    return hash() === known
  }

  #collect(): { see: (message: Message) => undefined; hash: () => string } {
    const { fixedBytes, volatile, counts } = this.#form
    let sequence = -1
    let bytes = new HashedBytes()
    const see = (message: Message) => {
      // An interrupted dump is begun anew, under another number.
      if (message.sequence !== sequence) bytes = new HashedBytes()
      sequence = message.sequence
      if (counts(message)) addStable(message, fixedBytes, volatile, bytes)
      return undefined
    }
    return { see, hash: () => bytes.digest() }
  }
}

/** A hash of many small pieces: each is copied, because a call into the hash costs more than the piece. */
class HashedBytes {
  readonly #hash: Hash = createHash('sha256')
  readonly #waiting = Buffer.allocUnsafe(16_384)
  #length = 0
  #view: DataView | undefined
  #bytes: Buffer = Buffer.alloc(0)

  add(view: DataView, start: number, end: number): void {
    if (view !== this.#view) this.#bytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength)
    this.#view = view
    if (this.#length + end - start > this.#waiting.length) this.#flush()
    if (end - start > this.#waiting.length) this.#hash.update(this.#bytes.subarray(start, end))
    else this.#length += this.#bytes.copy(this.#waiting, this.#length, start, end)
  }

  digest(): string {
    this.#flush()
    return this.#hash.digest('base64')
  }

  #flush(): void {
    this.#hash.update(this.#waiting.subarray(0, this.#length))
    this.#length = 0
  }
}

/** The message without its header and its volatile attributes. */
function addStable(
  { view, start, end }: Message,
  fixedBytes: number,
  volatile: readonly number[],
  bytes: HashedBytes,
): void {
  let from = start
  for (let at = start + fixedBytes; at + 4 <= end; ) {
    const next = Math.min(at + align4(Math.max(4, view.getUint16(at, LITTLE))), end)
    if (volatile.includes(view.getUint16(at + 2, LITTLE))) {
      bytes.add(view, from, at)
      from = next
    }
    at = next
  }
  bytes.add(view, from, end)
}
