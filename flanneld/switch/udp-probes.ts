import { createSocket, type Socket } from 'node:dgram'
import { setImmediate } from 'node:timers/promises'
import { freeProbePorts, isProbePort, PROBE_PORTS, type ProbePorts } from '../../kernel/kinds/probe-rule/ports.ts'
import { familyOf, type IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { ProbePort, ProbeRound } from './probe-port.ts'

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
  readonly answerers: readonly Socket[]
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
  #free: readonly ProbePorts[] = PROBE_PORTS

  constructor(needs: { clock: Clock; randomBytes: (count: number) => Uint8Array }) {
    this.#clock = needs.clock
    this.#randomBytes = needs.randomBytes
  }

  async open(addresses: readonly IpAddr[], taken: readonly number[]): Promise<void> {
    const before = this.#free
    this.#free = freeProbePorts(taken)
    const stays = before.length === this.#free.length && before.every((ports, place) => ports === this.#free[place])
    for (const [address, { answerers, tried, used }] of this.#places) {
      if (stays && addresses.includes(address)) continue
      this.#places.delete(address)
      for (const socket of [...answerers, ...tried, ...used]) socket.close()
    }
    for (const address of addresses) if (!this.#places.has(address)) await this.#openAt(address)
  }

  async send(round: ProbeRound, signal: AbortSignal): Promise<string | undefined> {
    const sockets = this.#places.get(round.from)?.[round.by]
    const [{ answers } = PROBE_PORTS[0]] = this.#free
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
          socket.send(message, answers, round.to, () => {})
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
      const [ports = PROBE_PORTS[0], ...others] = this.#free
      const answerers = [await bound(ports.answers)]
      const [tried, used] = [await all(ports.tried), await all(ports.used)]
      // A peer that still has another tunnel may ask elsewhere. That somebody has these ports is no fault.
      for (const { answers } of others) {
        const socket = await bound(answers).catch(() => undefined)
        if (socket !== undefined) answerers.push(socket)
      }
      for (const answerer of answerers)
        answerer.on('message', (message, from) => answerTo(message, from, { answerer, tried }))
      for (const socket of [...tried, ...used]) {
        socket.on('message', (message, { address: from, port }) => {
          if (isProbePort(port) && startsWith(message, ANSWER)) this.#heard(message, from)
        })
      }
      this.#places.set(address, { answerers, tried, used })
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

function answerTo(
  message: Buffer,
  { address, port }: { readonly address: string; readonly port: number },
  { answerer, tried }: { readonly answerer: Socket; readonly tried: readonly Socket[] },
): void {
  if (!isProbePort(port) || !startsWith(message, QUESTION)) return
  const answer = Buffer.concat([ANSWER, message.subarray(QUESTION.length)], MESSAGE_BYTES)
  answerer.send(answer, port, address, () => {})
  // What came by the new way is answered by that as well: the way in use may carry nothing any more, in either direction.
  if (PROBE_PORTS.some((ports) => port >= ports.tried.first && port <= ports.tried.last))
    tried[0]?.send(answer, port, address, () => {})
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
