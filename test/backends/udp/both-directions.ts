import assert from 'node:assert/strict'
import { Coalescer } from '../../../backends/udp/coalescer.ts'
import { Egress } from '../../../backends/udp/egress.ts'
import { Forwarding } from '../../../backends/udp/forwarding.ts'
import { Ingress } from '../../../backends/udp/ingress.ts'
import { buildPeerTable, PeerTable } from '../../../backends/udp/peer-table.ts'
import { type CounterName, ProxyMemory } from '../../../backends/udp/proxy-memory.ts'
import { ReceiveBatch } from '../../../backends/udp/receive-batch.ts'
import { MESSAGE_BYTES, SendBatch } from '../../../backends/udp/send-batch.ts'
import type { Cidr, IpAddr } from '../../../lib/address.ts'
import { fillMessage, gather, makeArena, readMessage, type SentMessage } from './fake-kernel.ts'

const EAGAIN = -11
const table = new PeerTable(
  buildPeerTable('10.5.1.0' as IpAddr, [
    { subnet: '10.5.2.0/24' as Cidr, publicIp: '192.168.64.12' as IpAddr },
    { subnet: '10.5.3.0/24' as Cidr, publicIp: '192.168.64.13' as IpAddr },
  ]),
)

interface Datagrams {
  readonly from: string
  readonly payload: Uint8Array
  readonly size?: number
  readonly truncated?: boolean
}

/** Both directions between a tun and a socket that are lists. */
export function setUp() {
  const arena = makeArena()
  const { memory } = arena
  const shared = new ProxyMemory()
  const { counters } = shared
  const sent: SentMessage[] = []
  const written: Uint8Array[] = []
  const toRead: Uint8Array[] = []
  const toReceive: Datagrams[] = []
  const send = (at: number, count: number) => {
    for (let index = 0; index < count; index += 1) sent.push(readMessage(memory, at + index * MESSAGE_BYTES))
    return count
  }
  const write = (vectors: number, count: number) => {
    const bytes = gather(memory, vectors, count)
    written.push(bytes)
    return bytes.length
  }
  const read = (at: number, length: number) => {
    const frame = toRead.shift()
    if (frame === undefined) return EAGAIN
    assert.ok(frame.length <= length)
    memory.bytes.set(frame, at)
    return frame.length
  }
  const receive = (at: number, count: number) => {
    const messages = toReceive.splice(0, count)
    for (const [index, message] of messages.entries()) fillMessage(memory, at + index * MESSAGE_BYTES, message)
    return messages.length === 0 ? EAGAIN : messages.length
  }
  const forwarding = new Forwarding(memory)
  const tun = new Coalescer({ arena, write, counters })
  const batch = new SendBatch(
    { arena, port: { send, awaitRoom: () => false }, counters },
    { peerPort: 8285, segmentation: true },
  )
  const ingress = new Ingress({
    forwarding,
    batch: new ReceiveBatch({ arena, receive }, { messages: 8 }),
    tun,
    counters,
  })
  const egress = new Egress({ arena, forwarding, read, batch, replies: tun, counters })
  return {
    sent,
    written,
    fromTun(...frames: Uint8Array[]) {
      toRead.push(...frames)
      while (egress.turn(table) > 0);
    },
    fromSocket(...messages: Datagrams[]) {
      toReceive.push(...messages)
      while (ingress.turn(table, (errno) => assert.fail(`errno ${errno}`)) > 0);
    },
    counted: () =>
      Object.fromEntries(
        Object.entries(shared.read()).filter(([name, n]) => n > 0 && !/^calls|^bytes/.test(name)),
      ) as Partial<Record<CounterName, number>>,
  }
}

export const plain = (packet: Uint8Array) => Buffer.concat([Buffer.alloc(12), packet])
export const back = <T extends object>(options: T) => ({ source: '10.5.2.2', destination: '10.5.1.2', ...options })
