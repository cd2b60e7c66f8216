import { createSocket, type Socket } from 'node:dgram'
import { setImmediate } from 'node:timers/promises'
import { PROBE_SOURCES } from '../../kernel/kinds/probe-rule/kind.ts'
import { familyOf, type IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { ProbePort, ProbeRound } from './probe-port.ts'

/** UDP port at which a node answers, host byte order. */
export const PROBE_PORT = 8473
/** Ports from which nothing goes by the table of probes. */
const USED_SOURCES = { first: 8477, last: 8479 }
/** An answer has this length, whatever the probe's: nobody gains by asking in another's name. */
const MESSAGE_BYTES = 24
const QUESTION = Buffer.from('flannel?')
const ANSWER = Buffer.from('flannel!')
const NONCE_BYTES = 8
/** Of a round; a peer in the same continent answers in a third of it. */
const PATIENCE_MS = 500
/** In each turn of its event loop Node reads what a socket has, up to 32 messages. */
const LATE_READS = 8
/** IP and UDP. */
const HEADERS = { 4: 28, 6: 48 } as const

interface Place {
  readonly answerer: Socket
  readonly tried: readonly Socket[]
  readonly used: readonly Socket[]
}

interface Waiting {
  readonly to: IpAddr
  readonly answered: () => void
}

/** Real probes: UDP, with the flag "don't fragment" as all that the kernel sends, and checksums as the hardware makes them. */
export class UdpProbes implements ProbePort {
  readonly #clock: Clock
  readonly #randomBytes: (count: number) => Uint8Array
  readonly #places = new Map<IpAddr, Place>()
  /** By nonce. */
  readonly #waiting = new Map<string, Waiting>()

  constructor(needs: { clock: Clock; randomBytes: (count: number) => Uint8Array }) {
    this.#clock = needs.clock
    this.#randomBytes = needs.randomBytes
  }

  async open(addresses: readonly IpAddr[]): Promise<void> {
    for (const [address, place] of this.#places) {
      if (addresses.includes(address)) continue
      this.#places.delete(address)
      for (const socket of [place.answerer, ...place.tried, ...place.used]) socket.close()
    }
    for (const address of addresses) if (!this.#places.has(address)) await this.#openAt(address)
  }

  async send(round: ProbeRound, signal: AbortSignal): Promise<string | undefined> {
    const sockets = this.#places.get(round.from)?.[round.by]
    if (sockets === undefined) return 'this host has no address to send them from yet'
    const missing = new Set(['small', 'large'].flatMap((size) => sockets.map((_socket, place) => `${size} ${place}`)))
    const all = new AbortController()
    const nonces: string[] = []
    try {
      for (const [place, socket] of sockets.entries()) {
        for (const size of ['small', 'large'] as const) {
          const nonce = Buffer.from(this.#randomBytes(NONCE_BYTES))
          const name = nonce.toString('hex')
          nonces.push(name)
          const answered = () => {
            missing.delete(`${size} ${place}`)
            if (missing.size === 0) all.abort()
          }
          this.#waiting.set(name, { to: round.to, answered })
          const bytes = size === 'small' ? MESSAGE_BYTES : round.bytes - HEADERS[familyOf(round.to)]
          const message = Buffer.concat([QUESTION, nonce], Math.max(MESSAGE_BYTES, bytes))
          // What cannot be sent is not answered, which is what counts.
          socket.send(message, PROBE_PORT, round.to, () => {})
        }
      }
      await untilFirst([signal, all.signal], (stop) => this.#clock.sleep(PATIENCE_MS, stop)).catch(() => {})
      // A process that was busy for so long has not read yet what came in time.
      for (let reads = 0; reads < LATE_READS && missing.size > 0 && !signal.aborted; reads += 1) await setImmediate()
    } finally {
      for (const nonce of nonces) this.#waiting.delete(nonce)
    }
    return wordsFor([...missing], nonces.length, round.bytes)
  }

  async #openAt(address: IpAddr): Promise<void> {
    const opened: Socket[] = []
    try {
      const bound = async (port: number) => {
        const socket = await boundSocket(address, port)
        opened.push(socket)
        return socket
      }
      const all = async ({ first, last }: { first: number; last: number }) => {
        const sockets: Socket[] = []
        for (let port = first; port <= last; port += 1) sockets.push(await bound(port))
        return sockets
      }
      const answerer = await bound(PROBE_PORT)
      const [tried, used] = [await all(PROBE_SOURCES), await all(USED_SOURCES)]
      answerer.on('message', (message, { address: to, port }) => {
        const isProbe = port >= PROBE_SOURCES.first && port <= USED_SOURCES.last && startsWith(message, QUESTION)
        if (!isProbe) return
        const answer = Buffer.concat([ANSWER, message.subarray(QUESTION.length)], MESSAGE_BYTES)
        answerer.send(answer, port, to, () => {})
        // What came by the new way is answered by that as well: the way in use may carry nothing any more, in either direction.
        if (port <= PROBE_SOURCES.last) tried[0]?.send(answer, port, to, () => {})
      })
      for (const socket of [...tried, ...used]) {
        socket.on('message', (message, { address: from, port }) => {
          const isAnswer = port >= PROBE_PORT && port <= PROBE_SOURCES.last && startsWith(message, ANSWER)
          if (isAnswer) this.#heard(message, from)
        })
      }
      this.#places.set(address, { answerer, tried, used })
    } catch (cause) {
      for (const socket of opened) socket.close()
      throw cause
    }
  }

  #heard(message: Buffer, from: string): void {
    const nonce = message.subarray(ANSWER.length, ANSWER.length + NONCE_BYTES).toString('hex')
    const waiting = this.#waiting.get(nonce)
    if (waiting?.to === from) waiting.answered()
  }
}

function startsWith(message: Buffer, start: Buffer): boolean {
  return message.length >= MESSAGE_BYTES && message.subarray(0, start.length).equals(start)
}

function wordsFor(missing: readonly string[], all: number, bytes: number): string | undefined {
  if (missing.length === 0) return undefined
  if (missing.length === all) return 'no probe is answered'
  if (missing.every((name) => name.startsWith('large')))
    return `small probes are answered, packets of ${bytes} bytes are not`
  return `${missing.length} of ${all} probes are not answered`
}

async function boundSocket(address: IpAddr, port: number): Promise<Socket> {
  const socket = createSocket({ type: familyOf(address) === 4 ? 'udp4' : 'udp6', ipv6Only: familyOf(address) === 6 })
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (cause) => {
      socket.close()
      reject(new Error(`UDP port ${port} of ${address} cannot be had: ${messageOf(cause)}`, { cause }))
    })
    socket.bind(port, address, () => {
      socket.removeAllListeners('error')
      // Of a packet that could not be sent; it is not answered.
      socket.on('error', () => {})
      resolve()
    })
  })
  return socket
}
