import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { CounterName } from '../../../backends/udp/proxy-memory.ts'
import { repeat } from '../../long.ts'
import { plain, setUp } from './both-directions.ts'
import { ipPacket, tcpPacket, udpPacket } from './fake-kernel.ts'

type Counts = Partial<Record<CounterName, number>>

const addresses = [
  '10.5.1.0',
  '10.5.1.2',
  '10.5.2.2',
  '10.5.3.3',
  '192.168.64.12',
  '192.168.64.11',
  '127.0.0.1',
  '0.0.0.0',
  '255.255.255.255',
  '224.0.0.1',
]
const data = fc.nat(60).map((size) => new Uint8Array(size).fill(size))

/** Nearly right packets, each wrong in what the issue names. */
const packet = fc
  .record({
    base: fc.oneof(
      fc.record({ data }).map(({ data }) => tcpPacket({ data })),
      fc.record({ data }).map(({ data }) => udpPacket({ data })),
      fc.constant(ipPacket({})),
    ),
    source: fc.constantFrom(...addresses),
    destination: fc.constantFrom(...addresses),
    ttl: fc.constantFrom(0, 1, 2, 64, 255),
    version: fc.constantFrom(4, 4, 4, 4, 0, 5, 6, 15),
    headerWords: fc.oneof({ weight: 4, arbitrary: fc.constant(5) }, { weight: 1, arbitrary: fc.nat(15) }),
    total: fc.option(fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 19, 20, 21, 65_535))),
    fragment: fc.constantFrom(0, 0, 0, 0x2000, 0x2001, 0x1fff, 0x4000, 0x8000),
    cut: fc.option(fc.nat(80)),
    padding: fc.constantFrom(0, 0, 0, 1, 30),
  })
  .map(({ base, source, destination, ttl, version, headerWords, total, fragment, cut, padding }) => {
    const bytes = Buffer.concat([base, Buffer.alloc(padding)])
    bytes[0] = (version << 4) | headerWords
    if (total !== null) bytes.writeUInt16BE(total, 2)
    bytes.writeUInt16BE(fragment, 6)
    bytes[8] = ttl
    bytes.set(source.split('.').map(Number), 12)
    bytes.set(destination.split('.').map(Number), 16)
    return Uint8Array.from(cut === null ? bytes : bytes.subarray(0, cut))
  })

const dropped = (counts: Counts) =>
  Object.entries(counts).reduce((sum, [name, count]) => (name.startsWith('drop') ? sum + (count ?? 0) : sum), 0)

describe('hostile udp datagrams', () => {
  it('each is carried whole or counted once, and what is carried is the sender’s', () => {
    const senders = ['192.168.64.12', '192.168.64.13', '192.168.64.11', '10.5.1.0', '0.0.0.0']
    const message = fc.record({ from: fc.constantFrom(...senders), payload: packet })
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 20 }), (messages) => {
        const { fromSocket, written, counted } = setUp()
        fromSocket(...messages)
        const counts = counted()
        assert.equal((counts.packetsIn ?? 0) + dropped(counts), messages.length)
        for (const frame of written) {
          const inner = frame.subarray(12)
          assert.equal((inner[0] ?? 0) >>> 4, 4)
          assert.ok((inner[8] ?? 0) > 0)
          assert.equal(((inner[2] ?? 0) << 8) | (inner[3] ?? 0), inner.length)
          // Never our own: neither the node's address nor its subnet nor its public address.
          assert.match(inner.subarray(12, 16).join('.'), /^10\.5\.[23]\.\d+$|^192\.168\.64\.1[23]$/)
        }
      }),
      { numRuns: repeat(500, 10_000) },
    )
  })
})

describe('hostile tun frames', () => {
  it('each is carried whole or counted once, and goes to peers only', () => {
    fc.assert(
      fc.property(fc.array(packet, { minLength: 1, maxLength: 20 }), (packets) => {
        const { fromTun, sent, counted } = setUp()
        fromTun(...packets.map((one) => Uint8Array.from(plain(one))))
        const counts = counted()
        assert.equal((counts.packetsOut ?? 0) + dropped(counts), packets.length)
        assert.ok((counts.unreachableSent ?? 0) <= (counts.dropNoPeer ?? 0))
        for (const { to, datagrams } of sent) {
          assert.match(to, /^192\.168\.64\.1[23]$/)
          for (const datagram of datagrams) {
            assert.ok((datagram[8] ?? 0) > 0)
            assert.match(Buffer.from(datagram).subarray(16, 20).join('.'), /^10\.5\.[23]\.\d+$/)
          }
        }
      }),
      { numRuns: repeat(500, 10_000) },
    )
  })

  it('cut off within the offload header are counted, and carry nothing', () => {
    for (let length = 1; length < 12; length += 1) {
      const { fromTun, sent, counted } = setUp()
      fromTun(new Uint8Array(length).fill(1))
      assert.deepEqual([sent.length, counted()], [0, { dropMalformed: 1 }])
    }
  })
})
