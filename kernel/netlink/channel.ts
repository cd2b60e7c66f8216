import { setImmediate as nextTurn } from 'node:timers/promises'
import { type OpError, OpFailure } from '../table.ts'
import { LITTLE, MalformedMessage } from './attributes.ts'
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from './constants.ts'
import { acknowledgement, errorOf } from './kernel-error.ts'
import { eachMessage, type Message } from './message.ts'
import { EINTR, ENOBUFS, type NetlinkSocket } from './socket.ts'

export interface ChannelOptions {
  /** Most messages of one batch: the event loop is held for all of them. */
  readonly batch?: number
}

const BATCH = 64
export const BATCH_BYTES = 32 * 1024
/** The kernel fills at most 32 KiB of a dump at once; single messages (a NIC with many functions) may need more. */
const RECEIVE_BYTES = 64 * 1024
const DUMP_TRIES = 4
const TURN_MS = 8

const LOST: OpError = { code: 'ENOBUFS', message: "the kernel's answer was lost" }

/**
 * A socket for requests to rtnetlink. The kernel does the work inside `sendto`, so a batch is sent and answered without waiting;
 * between batches the event loop is free. Requests of several callers take turns batch by batch.
 */
export class NetlinkChannel {
  readonly #socket: NetlinkSocket
  readonly #batch: number
  readonly #onUnsteady: (told: OpFailure) => void
  readonly #out = new Uint8Array(BATCH_BYTES + 1024)
  readonly #outView = new DataView(this.#out.buffer)
  #in = new Uint8Array(RECEIVE_BYTES)
  #inView = new DataView(this.#in.buffer)
  #sequence = 1
  #turns: Promise<void> = Promise.resolve()

  /** `onUnsteady` hears of each list that changed too often to be read as a whole. */
  constructor(
    needs: { socket: NetlinkSocket; onUnsteady?: ((told: OpFailure) => void) | undefined },
    options: ChannelOptions = {},
  ) {
    this.#socket = needs.socket
    this.#onUnsteady = needs.onUnsteady ?? (() => {})
    this.#batch = options.batch ?? BATCH
  }

  /**
   * Sends every message and gives the kernel's verdict on each, in order: undefined for success. What the kernel answers
   * beside the verdict goes to `onReply` with the index of its request. Never throws for a refusal.
   */
  async request(
    messages: Iterable<Uint8Array>,
    onReply?: (index: number, message: Message) => void,
  ): Promise<(OpError | undefined)[]> {
    const verdicts: (OpError | undefined)[] = []
    let batch: Uint8Array[] = []
    let bytes = 0
    const flush = async () => {
      const sent = batch
      const first = verdicts.length
      batch = []
      bytes = 0
      if (sent.length === 0) return
      if (first > 0) await nextTurn()
      await this.#inTurn(async () => verdicts.push(...this.#exchange(sent, sent.length - 1, onAnswer(first))))
    }
    const onAnswer = (first: number) => (index: number, message: Message) => onReply?.(first + index, message)
    for (const message of messages) {
      if (batch.length === this.#batch || bytes + message.length > BATCH_BYTES) await flush()
      batch.push(message)
      bytes += message.length
    }
    await flush()
    return verdicts
  }

  /**
   * Sends a transaction, for parts of the kernel that do all of it or nothing, as one datagram: verdicts as of `request`. The messages
   * take no more than `BATCH_BYTES` together; the last one ends the transaction and is not acknowledged (by Linux before 6.10).
   */
  async exchange(messages: readonly Uint8Array[]): Promise<(OpError | undefined)[]> {
    return await this.#inTurn(async () => this.#exchange(messages, messages.length - 2, () => {}))
  }

  /**
   * Everything that the kernel lists in answer to `message`; what `parse` gives undefined for is left out. Begun anew when the
   * kernel says that the list changed meanwhile. On a host where it changes all the time (thousands of devices, and some come
   * and go every moment) the last reading counts, each entry of it once: it may lack what came or went meanwhile, and whoever
   * acts on that is refused and reads again. Source: linux/Documentation/userspace-api/netlink/intro.rst, "Dump consistency".
   * @throws OpFailure
   */
  async dump<T>(message: Uint8Array, parse: (message: Message) => T | undefined): Promise<T[]> {
    return await this.#inTurn(async () => {
      for (let tries = 1; ; tries += 1) {
        const { found, outcome } = await this.#dumpOnce(message, parse, tries === DUMP_TRIES)
        if (outcome === 'whole') return found
        if (tries === DUMP_TRIES && outcome === 'lost') throw new OpFailure(LOST)
        if (tries === DUMP_TRIES) {
          const text = `a list changed during ${DUMP_TRIES} attempts to read it; the last one counts`
          this.#onUnsteady(new OpFailure({ code: 'EINTR', message: text }))
          return found
        }
        await nextTurn()
      }
    })
  }

  /** Reads to the end whatever happens, else the rest would answer the next request. `once`: entries that are shown twice count once. */
  async #dumpOnce<T>(
    request: Uint8Array,
    parse: (message: Message) => T | undefined,
    once: boolean,
  ): Promise<{ found: T[]; outcome: 'whole' | 'changed' | 'lost' }> {
    const found: T[] = []
    const shown = new Set<string>()
    const sequence = this.#put(request, 0, NLM_F_REQUEST | NLM_F_DUMP)
    const sent = this.#send(request.length)
    if (sent < 0) throw new OpFailure(errorOf(-sent))
    let ended = false
    let outcome: 'whole' | 'changed' | 'lost' = 'whole'
    let failure: unknown
    let turnEnds = performance.now() + TURN_MS
    const visit = (message: Message) => {
      if (message.sequence !== sequence) return
      if (message.flags & NLM_F_DUMP_INTR && outcome === 'whole') outcome = 'changed'
      if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
        ended = true
        const error = acknowledgement(message)
        if (error !== undefined && failure === undefined) failure = new OpFailure(error)
        return
      }
      if (failure !== undefined || outcome === 'lost' || (outcome === 'changed' && !once)) return
      if (once && isKnown(message, shown)) return
      try {
        const item = parse(message)
        if (item !== undefined) found.push(item)
      } catch (cause) {
        failure = cause
      }
    }
    while (!ended) {
      const length = this.#receive()
      if (length < 0) {
        // Nothing left though no end was seen: answers were dropped for want of memory.
        if (length !== -ENOBUFS) ended = true
        outcome = 'lost'
      } else if (length > this.#in.length) {
        this.#growTo(length)
        outcome = 'lost'
      } else if (!this.#show(length, visit)) {
        failure ??= new MalformedMessage('the kernel sent a message that cannot be read')
      }
      if (performance.now() > turnEnds) {
        await nextTurn()
        turnEnds = performance.now() + TURN_MS
      }
    }
    // What is not whole is read again, whatever else was wrong with it.
    if (outcome !== 'whole' && !once) return { found, outcome }
    if (failure instanceof MalformedMessage) throw new OpFailure({ code: 'EBADMSG', message: failure.message })
    if (failure !== undefined) throw failure
    return { found, outcome }
  }

  /**
   * Refusals are always told. Of successes only that of the message at `asked` is, which saves a datagram for each of the others; where
   * the verdict on it came and nothing was lost on the way, what was not refused was done.
   */
  #exchange(
    messages: readonly Uint8Array[],
    asked: number,
    onReply: (index: number, message: Message) => void,
  ): (OpError | undefined)[] {
    let bytes = 0
    const firstSequence = this.#sequence
    for (const [index, message] of messages.entries()) {
      this.#put(message, bytes, index === asked ? NLM_F_REQUEST | NLM_F_ACK : NLM_F_REQUEST)
      bytes += message.length
    }
    const sent = this.#send(bytes)
    if (sent < 0) return messages.map(() => errorOf(-sent))
    const verdicts = new Map<number, OpError | undefined>()
    const visit = (message: Message) => {
      const index = (message.sequence - firstSequence) >>> 0
      if (index >= messages.length) return
      const closes = message.type === NLMSG_ERROR
      try {
        if (!closes) onReply(index, message)
        else if (!verdicts.has(index)) verdicts.set(index, acknowledgement(message))
      } catch (cause) {
        if (!(cause instanceof MalformedMessage)) throw cause
        verdicts.set(index, { code: 'EBADMSG', message: cause.message })
      }
    }
    let lost = false
    while (!verdicts.has(asked)) {
      const length = this.#receive()
      if (length < 0 && length !== -ENOBUFS) break
      const fits = length <= this.#in.length
      if (!fits) this.#growTo(length)
      if (length < 0 || !fits || !this.#show(length, visit)) lost = true
    }
    // What is unknown is LOST: the caller reads the kernel again.
    const silent = verdicts.has(asked) && !lost ? undefined : LOST
    return messages.map((_message, index) => (verdicts.has(index) ? verdicts.get(index) : silent))
  }

  /** Copies the request into the outgoing datagram and returns its sequence number. */
  #put(message: Uint8Array, at: number, flags: number): number {
    const sequence = this.#sequence
    this.#sequence = (sequence + 1) >>> 0
    this.#out.set(message, at)
    this.#outView.setUint16(at + 6, this.#outView.getUint16(at + 6, LITTLE) | flags, LITTLE)
    this.#outView.setUint32(at + 8, sequence, LITTLE)
    return sequence
  }

  #send(bytes: number): number {
    for (;;) {
      const sent = this.#socket.send(this.#out, bytes)
      if (sent !== -EINTR) return sent
    }
  }

  #receive(): number {
    for (;;) {
      const length = this.#socket.receive(this.#in)
      if (length !== -EINTR) return length
    }
  }

  /** False: the datagram is no run of messages; what came before the fault was shown. */
  #show(length: number, visit: (message: Message) => void): boolean {
    try {
      eachMessage(this.#inView, length, visit)
      return true
    } catch (cause) {
      if (cause instanceof MalformedMessage) return false
      throw cause
    }
  }

  #growTo(length: number): void {
    this.#in = new Uint8Array(length)
    this.#inView = new DataView(this.#in.buffer)
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turns.then(work)
    this.#turns = result.then(
      () => {},
      () => {},
    )
    return result
  }
}

function isKnown({ view, start, end }: Message, shown: Set<string>): boolean {
  const bytes = Buffer.from(view.buffer, view.byteOffset + start, end - start).toString('latin1')
  if (shown.has(bytes)) return true
  shown.add(bytes)
  return false
}
