import assert from 'node:assert/strict'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { Lab } from '../../lab/lab.ts'
import type { Namespace } from '../../lab/namespace.ts'
import type { Program } from '../../lab/program.ts'
import { until } from './world.ts'

/** What one TCP connection and the numbered UDP datagrams beside it have come to. */
export interface StreamCounts {
  /** `broken` is the connection's error, null where there was none; `wrong` counts pieces with other bytes than were sent. */
  readonly tcp: {
    readonly sent: number
    readonly received: number
    readonly wrong: number
    readonly broken: string | null
  }
  /** `reordered` counts those that came after one with a higher number. */
  readonly udp: { readonly sent: number; readonly lost: number; readonly reordered: number; readonly doubled: number }
}

export const DATAGRAMS_PER_SECOND = 100
const PORT = 5_002
const LISTENING = 'listening'
/** Both fit the smallest MTU of all backends. */
const SMALL_PIECE = 1_000
const DATAGRAM = 1_000
/** No power of two, so that a piece that is lost or doubled does not look right. */
const PATTERN = `const pattern = Buffer.from(Array.from({ length: 65_521 }, (_, n) => (n * 31) % 251))`

const RECEIVER = `
  ${PATTERN}
  const tcp = { received: 0, wrong: 0 }
  const udp = { received: 0, reordered: 0, doubled: 0 }
  const seen = new Set()
  let newest = -1
  const server = require('net').createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('data', (chunk) => {
      for (let done = 0; done < chunk.length; ) {
        const at = tcp.received % pattern.length
        const size = Math.min(chunk.length - done, pattern.length - at)
        if (chunk.compare(pattern, at, at + size, done, done + size) !== 0) tcp.wrong += 1
        tcp.received += size
        done += size
      }
    })
    socket.on('end', () => socket.end())
    socket.on('error', () => {})
  })
  const datagrams = require('dgram').createSocket('udp4')
  datagrams.on('message', (datagram) => {
    const number = datagram.readUInt32BE(0)
    if (seen.has(number)) udp.doubled += 1
    else if (number < newest) udp.reordered += 1
    seen.add(number)
    udp.received = seen.size
    newest = Math.max(newest, number)
  })
  process.on('SIGTERM', () => { process.stdout.write(JSON.stringify({ tcp, udp })); process.exit() })
  datagrams.bind(${PORT}, () => server.listen(${PORT}, () => process.stdout.write('${LISTENING}')))`

const sender = (address: string, piece: number) => `
  ${PATTERN}
  const twice = Buffer.concat([pattern, pattern])
  const tcp = { sent: 0, broken: null }
  const udp = { sent: 0 }
  const leave = () => { process.stdout.write(JSON.stringify({ tcp, udp })); process.exit() }
  const datagrams = require('dgram').createSocket('udp4')
  const socket = require('net').connect(${PORT}, '${address}')
  let isFull = false
  socket.on('drain', () => { isFull = false })
  socket.on('error', (cause) => { tcp.broken = cause.message })
  socket.on('data', () => {})
  const work = setInterval(() => {
    const datagram = Buffer.alloc(${DATAGRAM})
    datagram.writeUInt32BE(udp.sent)
    udp.sent += 1
    datagrams.send(datagram, ${PORT}, '${address}', () => {})
    if (isFull || tcp.broken !== null) return
    const at = tcp.sent % pattern.length
    isFull = !socket.write(twice.subarray(at, at + ${piece}))
    tcp.sent += ${piece}
  }, ${1_000 / DATAGRAMS_PER_SECOND})
  process.on('SIGTERM', () => {
    clearInterval(work)
    if (socket.destroyed) return leave()
    socket.on('close', leave)
    socket.end()
  })`

/** A TCP connection and UDP datagrams from one container to another, as many pieces as datagrams a second, until they are stopped. */
export class Streams {
  static #started = 0
  readonly #receiver: Program
  readonly #sender: Program

  private constructor(receiver: Program, from: Program) {
    this.#receiver = receiver
    this.#sender = from
  }

  /** `piece`: bytes that the connection gets at once, at most 65,521; what does not fit a packet goes in packets of full size. */
  static async start(
    lab: Lab,
    from: Namespace,
    to: Namespace & { readonly address: string },
    piece = SMALL_PIECE,
  ): Promise<Streams> {
    Streams.#started += 1
    const log = (side: string) => ({ log: join(lab.folder, `stream-${Streams.#started}-${side}.log`) })
    const [theirs, ours] = [log('receiver'), log('sender')]
    const receiver = await to.start([execPath, '-e', RECEIVER], theirs)
    await until(30_000, 'a receiver listens', async () => assert.equal(await receiver.logText(), LISTENING))
    return new Streams(receiver, await from.start([execPath, '-e', sender(to.address, piece)], ours))
  }

  /** Ends both, waits for what is under way, and says what came. */
  async stop(): Promise<StreamCounts> {
    const sent = await ended(this.#sender, 30_000)
    const { tcp, udp } = await ended(this.#receiver, 5_000)
    return {
      tcp: { ...sent.tcp, ...tcp },
      udp: { sent: sent.udp.sent, lost: sent.udp.sent - udp.received, reordered: udp.reordered, doubled: udp.doubled },
    }
  }
}

// biome-ignore lint/suspicious/noExplicitAny: what the two programs above print
async function ended(program: Program, patience: number): Promise<any> {
  assert.deepEqual(await program.stop(patience), { code: 0, signal: null }, await program.logText())
  return JSON.parse((await program.logText()).replace(LISTENING, ''))
}
