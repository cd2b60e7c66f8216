import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Coalescer } from '../../../backends/udp/coalescer.ts'
import { Egress } from '../../../backends/udp/egress.ts'
import { Forwarding } from '../../../backends/udp/forwarding.ts'
import { Ingress } from '../../../backends/udp/ingress.ts'
import { buildPeerTable, PeerTable } from '../../../backends/udp/peer-table.ts'
import { type CounterName, ProxyMemory } from '../../../backends/udp/proxy-memory.ts'
import { ReceiveBatch } from '../../../backends/udp/receive-batch.ts'
import { MESSAGE_BYTES, SendBatch } from '../../../backends/udp/send-batch.ts'
import type { Cidr, IpAddr } from '../../../lib/address.ts'
import { repeat } from '../../long.ts'
import {
  fillMessage,
  gather,
  ipPacket,
  makeArena,
  partialChecksum,
  readMessage,
  type SentMessage,
  tcpPacket,
  udpPacket,
} from './fake-kernel.ts'

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
function setUp() {
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

const plain = (packet: Uint8Array) => Buffer.concat([Buffer.alloc(12), packet])
const back = <T extends object>(options: T) => ({ source: '10.5.2.2', destination: '10.5.1.2', ...options })

describe('udp from the tun', () => {
  it('goes to the peers of the destinations, one call for all', () => {
    const { fromTun, sent, counted } = setUp()
    fromTun(plain(ipPacket()), plain(ipPacket()), plain(ipPacket({ destination: '10.5.3.1' })))
    assert.deepEqual(
      sent.map(({ to, port, datagrams }) => [to, port, datagrams.map((one) => one.length)]),
      [
        ['192.168.64.12', 8285, [28, 28]],
        ['192.168.64.13', 8285, [28]],
      ],
    )
    assert.deepEqual(counted(), { packetsOut: 3 })
  })

  it('is answered when no peer has the destination', () => {
    const { fromTun, written, sent, counted } = setUp()
    fromTun(
      plain(udpPacket({ destination: '10.5.9.9', data: new Uint8Array(3) })),
      plain(ipPacket({ destination: '10.5.9.9' })),
    )
    assert.deepEqual(sent, [])
    assert.deepEqual(counted(), { dropNoPeer: 2, unreachableSent: 1, packetsIn: 1 })
    assert.deepEqual([...(written[0] ?? [])].slice(0, 13), [...Array(12).fill(0), 0x45])
  })

  it('is never sent as anything else than whole packets of the tun, whatever a header says', () => {
    const packet = fc.oneof(
      fc.nat(3000).map((size) => partialChecksum(tcpPacket({ data: new Uint8Array(size).fill(7) }), 16)),
      fc.nat(3000).map((size) => partialChecksum(udpPacket({ data: new Uint8Array(size).fill(7) }), 6)),
      fc.uint8Array({ maxLength: 200 }),
    )
    const header = fc.record({
      flags: fc.constantFrom(0, 1, 1, 1, 2, 255),
      gso: fc.constantFrom(0, 1, 1, 1, 3, 4, 5, 0x81, 255),
      fields: fc.tuple(
        fc.nat(0xffff),
        fc.oneof(fc.constantFrom(0, 1, 8, 100, 1400), fc.nat(0xffff)),
        fc.oneof(fc.constantFrom(20, 20, 20, 24), fc.nat(0xffff)),
        fc.oneof(fc.constantFrom(6, 16), fc.nat(0xffff)),
        fc.nat(0xffff),
      ),
    })
    const changes = fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 3 })
    const frame = fc
      .tuple(header, packet, changes, fc.boolean(), fc.option(fc.nat(60)))
      .map(([{ flags, gso, fields }, whole, changed, change, cut]) => {
        const bytes = Buffer.concat([Buffer.from([flags, gso]), Buffer.from(Uint16Array.from(fields).buffer), whole])
        if (change) for (const [at, value] of changed) if (12 + at < bytes.length) bytes[12 + at] = value
        return cut === null ? bytes : bytes.subarray(0, cut)
      })
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 20 }), (frames) => {
        const { fromTun, sent } = setUp()
        const given = frames.map((one) => one.length)
        fromTun(...frames.map((one) => Uint8Array.from(one)))
        for (const datagram of sent.flatMap(({ datagrams }) => datagrams)) {
          assert.ok(datagram[0] !== undefined && datagram[0] >>> 4 === 4)
          assert.equal(((datagram[2] ?? 0) << 8) | (datagram[3] ?? 0), datagram.length)
          assert.ok(given.some((length) => datagram.length <= length - 12))
        }
      }),
      { numRuns: repeat(200, 5_000) },
    )
  })
})

describe('udp from the socket', () => {
  it('goes to the tun, equal segments of one message as one train', () => {
    const { fromSocket, written, counted } = setUp()
    const segments = [0, 1, 2].map((n) =>
      tcpPacket(back({ data: new Uint8Array(100).fill(n), sequence: n * 100, id: n })),
    )
    fromSocket({ from: '192.168.64.12', payload: Buffer.concat(segments), size: 140 })
    assert.deepEqual(
      written.map((one) => one.length),
      [12 + 40 + 300],
    )
    assert.deepEqual(counted(), { packetsIn: 3 })
  })

  it('is dropped by reason', () => {
    const { fromSocket, written, counted } = setUp()
    const good = ipPacket(back({}))
    fromSocket(
      { from: '192.168.64.99', payload: good },
      { from: '192.168.64.99', payload: Buffer.concat([good, good, good.subarray(5)]), size: 28 },
      { from: '192.168.64.13', payload: good },
      { from: '192.168.64.12', payload: ipPacket(back({ ttl: 1 })) },
      { from: '192.168.64.12', payload: new Uint8Array(0) },
      { from: '192.168.64.12', payload: good, truncated: true },
      { from: '192.168.64.12', payload: Buffer.from('6'.repeat(80), 'hex') },
      { from: '192.168.64.12', payload: good.subarray(0, 20) },
      { from: '192.168.64.12', payload: good },
    )
    assert.equal(written.length, 1)
    assert.deepEqual(counted(), {
      packetsIn: 1,
      dropStranger: 4,
      dropInnerSource: 1,
      dropTtl: 1,
      dropMalformed: 3,
      dropNotIpv4: 1,
    })
  })

  it('becomes only packets of the sender that are whole, whatever a datagram holds', () => {
    const packet = fc.oneof(
      fc.nat(100).map((size) => tcpPacket(back({ data: new Uint8Array(size) }))),
      fc.nat(100).map((size) => udpPacket(back({ data: new Uint8Array(size) }))),
      fc.uint8Array({ maxLength: 80 }),
    )
    const message = fc.record(
      {
        from: fc.constantFrom('192.168.64.12', '192.168.64.12', '192.168.64.13', '1.2.3.4', '0.0.0.0'),
        payload: fc
          .tuple(fc.array(packet, { maxLength: 5 }), fc.array(fc.tuple(fc.nat(150), fc.nat(255)), { maxLength: 2 }))
          .map(([parts, changed]) => {
            const bytes = Uint8Array.from(Buffer.concat(parts))
            for (const [at, value] of changed) if (at < bytes.length) bytes[at] = value
            return bytes
          }),
        size: fc.oneof(fc.nat(200), fc.integer()),
      },
      { requiredKeys: ['from', 'payload'] },
    )
    fc.assert(
      fc.property(fc.array(message, { maxLength: 20 }), (messages) => {
        const { fromSocket, written } = setUp()
        fromSocket(...messages)
        for (const one of written) {
          const inner = one.subarray(12)
          assert.equal(((inner[2] ?? 0) << 8) | (inner[3] ?? 0), inner.length)
          const source = inner.subarray(12, 16).join('.')
          assert.match(source, /^10\.5\.[23]\.\d+$|^192\.168\.64\.1[23]$/)
        }
      }),
      { numRuns: repeat(200, 5_000) },
    )
  })
})
