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
 * Remembers a list of the kernel's by a number for each message, so that one can ask whether it is still the same: without
 * making thousands of objects, at a tenth of the cost of reading it again.
 */
export class DumpDigest {
  readonly #channel: Pick<NetlinkChannel, 'dump'>
  readonly #form: DigestForm
  #known: readonly number[] | undefined

  constructor(needs: { channel: Pick<NetlinkChannel, 'dump'> }, form: DigestForm) {
    this.#channel = needs.channel
    this.#form = form
  }

  /** As `NetlinkChannel.dump`; the list is remembered. @throws OpFailure */
  async dump<T>(request: Uint8Array, parse: (message: Message) => T | undefined): Promise<T[]> {
    this.#known = undefined
    const { see, hashes } = this.#collect()
    const found = await this.#channel.dump(request, (message) => {
      see(message)
      return parse(message)
    })
    this.#known = hashes()
    return found
  }

  /** Whether a dump would show what the last one did, in its order. @throws OpFailure */
  async unchanged(request: Uint8Array): Promise<boolean> {
    const known = this.#known
    if (known === undefined) return false
    const { see, hashes } = this.#collect()
    await this.#channel.dump(request, see)
    const now = hashes()
    return now.length === known.length && now.every((hash, index) => hash === known[index])
  }

  #collect(): { see: (message: Message) => undefined; hashes: () => readonly number[] } {
    const { fixedBytes, volatile, counts } = this.#form
    let sequence = -1
    let found: number[] = []
    const see = (message: Message) => {
      // An interrupted dump is begun anew, under another number.
      if (message.sequence !== sequence) found = []
      sequence = message.sequence
      if (counts(message)) found.push(hashOf(message, fixedBytes, volatile))
      return undefined
    }
    return { see, hashes: () => found }
  }
}

/** MurmurHash3's mixing over the words of a message, header and volatile attributes left out. */
function hashOf({ view, start, end }: Message, fixedBytes: number, volatile: readonly number[]): number {
  let hash = 0
  const mix = (from: number, to: number) => {
    for (let at = from; at + 4 <= to; at += 4) {
      const word = Math.imul(view.getUint32(at, LITTLE), 0xcc9e2d51)
      const turned = Math.imul((word << 15) | (word >>> 17), 0x1b873593) ^ hash
      hash = (Math.imul((turned << 13) | (turned >>> 19), 5) + 0xe6546b64) | 0
    }
  }
  // The last attribute may end before its word does; what follows is padding, which the kernel clears.
  const limit = Math.min(align4(end), view.byteLength)
  mix(start, Math.min(start + fixedBytes, limit))
  for (let at = start + fixedBytes; at + 4 <= end; ) {
    const length = Math.max(4, view.getUint16(at, LITTLE))
    const next = Math.min(at + align4(length), limit)
    if (!volatile.includes(view.getUint16(at + 2, LITTLE))) mix(at, next)
    at = next
  }
  return hash
}
