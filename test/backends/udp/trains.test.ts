import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Coalescer } from '../../../backends/udp/coalescer.ts'
import { Arena, type Memory } from '../../../backends/udp/memory.ts'
import { OFFLOAD_HEADER_BYTES, OffloadHeader } from '../../../backends/udp/offload.ts'
import { counterNames } from '../../../backends/udp/proxy-memory.ts'
import { SendBatch } from '../../../backends/udp/send-batch.ts'
import { Splitter } from '../../../backends/udp/splitter.ts'
import {
  gather,
  intact,
  ipPacket,
  makeMemory,
  partialChecksum,
  readMessage,
  tcpPacket,
  udpPacket,
} from './fake-kernel.ts'

const peer = 0x0a000001

/** What a Coalescer wrote, one frame of offload header and packet each. */
function coalesce(packets: readonly Uint8Array[]): readonly Uint8Array[] {
  const memory = makeMemory(2 ** 23)
  const frames: Uint8Array[] = []
  const write = (vectors: number, count: number) => frames.push(gather(memory, vectors, count))
  const coalescer = new Coalescer({ arena: new Arena(memory), write, counters: newCounters() })
  // Right behind each other, as in a message: at every alignment.
  let at = 2 ** 22
  for (const packet of packets) {
    memory.bytes.set(packet, at)
    coalescer.add(at, packet.length)
    at += packet.length
  }
  assert.equal(coalescer.flush(), 0)
  return frames
}

/** The datagrams that frames of a tun become; undefined: the Splitter refused one. */
function split(frames: readonly Uint8Array[]): readonly Uint8Array[] | undefined {
  const memory = makeMemory(2 ** 23)
  const sent: Uint8Array[] = []
  const batch = sendBatch(memory, sent)
  const splitter = new Splitter(memory, batch)
  const offload = new OffloadHeader()
  let at = 2 ** 22
  for (const frame of frames) {
    memory.bytes.set(frame, at)
    offload.read(memory, at)
    if (!splitter.add(peer, at + OFFLOAD_HEADER_BYTES, frame.length - OFFLOAD_HEADER_BYTES, offload)) return undefined
    at = (at + frame.length + 63) & ~63
  }
  batch.flush()
  return sent
}

function sendBatch(memory: Memory, sent: Uint8Array[]): SendBatch {
  const send = (messages: number, count: number) => {
    for (let index = 0; index < count; index += 1) sent.push(...readMessage(memory, messages + index * 64).datagrams)
    return count
  }
  const port = { send, awaitRoom: () => false }
  return new SendBatch(
    { arena: new Arena(memory), port, counters: newCounters() },
    { peerPort: 8285, segmentation: true },
  )
}

function newCounters(): Float64Array {
  return new Float64Array(counterNames.length)
}

function hex(packets: readonly Uint8Array[]): readonly string[] {
  return packets.map((packet) => Buffer.from(packet).toString('hex'))
}

function bytes(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_unused, index) => (index * 31 + seed * 7) >>> 1)
}

/** A header of a train, as the kernel writes it. */
function frame(
  header: { flags?: number; gso?: number; size?: number; start?: number; offset?: number },
  packet: Uint8Array,
) {
  const bytes = Buffer.alloc(OFFLOAD_HEADER_BYTES)
  bytes.set([header.flags ?? 0, header.gso ?? 0])
  bytes.writeUInt16LE(header.size ?? 0, 4)
  bytes.writeUInt16LE(header.start ?? 0, 6)
  bytes.writeUInt16LE(header.offset ?? 0, 8)
  return Buffer.concat([bytes, packet])
}

const tcpTrain = { flags: 1, gso: 1, size: 100, start: 20, offset: 16 }

describe('udp coalescer', () => {
  const stream = (sizes: readonly number[], more: object = {}) => {
    let sequence = 0xffff_ff00
    return sizes.map((size, index) => {
      const packet = tcpPacket({ data: bytes(size, index), sequence, id: index, ...more })
      sequence += size
      return packet
    })
  }

  it('makes one train of segments in sequence, up to a shorter one', () => {
    const packets = stream([500, 500, 500, 300, 500, 500])
    const frames = coalesce(packets)
    assert.deepEqual(
      frames.map((one) => one.length - 52),
      [1800, 1000],
    )
    assert.deepEqual([...(frames[0]?.subarray(0, 12) ?? [])], [1, 1, 40, 0, 244, 1, 20, 0, 16, 0, 0, 0])
    assert.deepEqual(hex(split(frames) ?? []), hex(packets))
  })

  it('ends a train with PSH', () => {
    const packets = stream([100, 100, 100, 100])
    packets[1] = tcpPacket({ data: bytes(100, 1), sequence: 0xffff_ff64, id: 1, flags: 0x18 })
    const frames = coalesce(packets)
    assert.deepEqual(
      frames.map((one) => one.length - 52),
      [200, 200],
    )
    assert.deepEqual(hex(split(frames) ?? []), hex(packets))
  })

  it('joins no UDP datagrams', () => {
    const packets = [64, 64, 64].map((size, id) => udpPacket({ data: bytes(size, id), id }))
    assert.deepEqual(hex(coalesce(packets).map((one) => one.subarray(12))), hex(packets))
  })

  it('never makes more than the kernel takes', () => {
    const frames = coalesce(stream(Array(200).fill(1400)))
    assert.ok(frames.every((one) => one.length <= 12 + 65_535))
    assert.equal(frames.length, Math.ceil(200 / 46))
    assert.equal(coalesce(stream(Array(200).fill(8))).length, Math.ceil(200 / 64))
  })

  for (const [name, second] of [
    ['a gap', { sequence: 1101 }],
    ['another acknowledgement', { acknowledged: 6 }],
    ['another window', { window: 501 }],
    ['another TTL', { ttl: 63 }],
    ['FIN', { flags: 0x11 }],
    ['URG', { flags: 0x30 }],
    ['ECE', { flags: 0x50 }],
    ['other options', { tcpOptions: Uint8Array.of(1, 1, 1, 0) }],
    ['more data', { data: bytes(101, 2) }],
    ['another identification, and no DF', { id: 9, fragment: 0 }],
    ['other ports', { ports: [5001, 6000] as const }],
    ['another source', { source: '10.5.1.3' }],
  ] as const) {
    it(`joins nothing across ${name}`, () => {
      const first = { sequence: 1000, id: 7, fragment: 'fragment' in second ? 0 : 0x4000 }
      const packets = [
        tcpPacket({ ...first, data: bytes(100, 1), tcpOptions: Uint8Array.of(1, 1, 1, 1) }),
        tcpPacket({ ...first, sequence: 1100, data: bytes(100, 2), tcpOptions: Uint8Array.of(1, 1, 1, 1), ...second }),
      ]
      assert.deepEqual(hex(coalesce(packets).map((one) => one.subarray(12))), hex(packets))
    })
  }

  it('leaves a packet with a wrong checksum as it is', () => {
    for (const [broken, byte] of [
      [0, 60],
      [1, 60],
      [2, 60],
      [1, 36],
      [1, 10],
    ] as const) {
      const packets = stream([100, 100, 100, 100])
      const one = packets[broken]
      assert.ok(one)
      one[byte] = (one[byte] ?? 0) ^ 0x55
      const frames = coalesce(packets)
      assert.ok(hex(frames).includes(`${'00'.repeat(12)}${Buffer.from(one).toString('hex')}`), `packet ${broken}`)
      assert.deepEqual(hex(split(frames) ?? []), hex(packets))
    }
  })

  it('gives back by the splitter, in order within each flow, what went in', () => {
    const one = fc.record({
      flow: fc.nat(3),
      size: fc.constantFrom(0, 1, 99, 100, 100, 100, 100, 101),
      kind: fc.constantFrom('tcp', 'tcp', 'tcp', 'udp', 'icmp', 'fragment'),
      flags: fc.constantFrom(0x10, 0x10, 0x10, 0x10, 0x18, 0x11, 0x02),
      jump: fc.constantFrom(0, 0, 0, 0, 0, 5),
      window: fc.constantFrom(500, 500, 500, 501),
      broken: fc.constantFrom(false, false, false, false, true),
    })
    fc.assert(
      fc.property(fc.array(one, { maxLength: 150 }), (made) => {
        const sequences = [0, 0xffff_ffc0, 7, 9]
        // As a host counts it: what has DF set may lose its own number in a train.
        const ids: Record<string, number> = {}
        const packets = made.map(({ flow, size, kind, flags, jump, window, broken }, index) => {
          const ports = [flow, 6000] as const
          const data = bytes(size, index)
          const id = (ids[`${kind} ${flow}`] ?? 0xfff0) & 0xffff
          ids[`${kind} ${flow}`] = id + 1
          if (kind === 'icmp') return ipPacket({ payload: data })
          if (kind === 'fragment') return ipPacket({ protocol: 6, fragment: 0x2000, payload: data })
          if (kind === 'udp') return udpPacket({ ports, data, id })
          const sequence = (sequences[flow] ?? 0) + jump
          sequences[flow] = sequence + size
          const packet = tcpPacket({ ports, data, id, flags, window, sequence })
          if (broken) packet[25] = (packet[25] ?? 0) ^ 1
          return packet
        })
        const back = split(coalesce(packets))
        assert.ok(back)
        const flowOf = (packet: Uint8Array) => (packet[9] === 1 ? 'icmp' : `${packet[9]} ${packet[6]} ${packet[21]}`)
        assert.deepEqual(byFlow(back, flowOf), byFlow(packets, flowOf))
      }),
    )
  })
})

function byFlow(packets: readonly Uint8Array[], keyOf: (packet: Uint8Array) => string): Record<string, string[]> {
  const flows: Record<string, string[]> = {}
  for (const packet of packets) {
    const key = keyOf(packet)
    flows[key] = [...(flows[key] ?? []), Buffer.from(packet).toString('hex')]
  }
  return flows
}

describe('udp splitter', () => {
  it('cuts a train into whole packets; PSH and FIN stay with the last, CWR with the first', () => {
    const packet = partialChecksum(tcpPacket({ data: bytes(250), flags: 0x99, sequence: 0xffff_ffff, id: 0xffff }), 16)
    const sent = split([frame({ ...tcpTrain, gso: 0x81 }, packet)]) ?? []
    assert.ok(sent.every(intact))
    assert.deepEqual(
      sent.map((one) => one.length - 40),
      [100, 100, 50],
    )
    assert.deepEqual(
      sent.map((one) => one[33]),
      [0x90, 0x10, 0x19],
    )
    assert.deepEqual(
      sent.map((one) => Buffer.from(one).readUInt32BE(24)),
      [0xffff_ffff, 99, 199],
    )
    assert.deepEqual(
      sent.map((one) => Buffer.from(one).readUInt16BE(4)),
      [0xffff, 0, 1],
    )
    assert.deepEqual(Buffer.concat(sent.map((one) => one.subarray(40))), Buffer.from(bytes(250)))
  })

  it('fills in a checksum that was left out', () => {
    for (const [whole, offset] of [
      [tcpPacket({ data: bytes(99) }), 16],
      [udpPacket({ data: bytes(99) }), 6],
    ] as const) {
      const sent = split([frame({ flags: 1, start: 20, offset }, partialChecksum(whole, offset))])
      assert.deepEqual(hex(sent ?? []), hex([whole]))
    }
  })

  it('cuts a train of UDP datagrams', () => {
    const packet = partialChecksum(udpPacket({ data: bytes(250), id: 0xffff }), 6)
    const sent = split([frame({ flags: 1, gso: 5, size: 100, start: 20, offset: 6 }, packet)]) ?? []
    assert.deepEqual(
      hex(sent),
      hex(
        [0, 1, 2].map((n) =>
          udpPacket({ data: bytes(250).subarray(n * 100, n * 100 + 100), id: (0xffff + n) & 0xffff }),
        ),
      ),
    )
  })

  it('cuts trains of more segments than a batch has room for', () => {
    const packet = partialChecksum(tcpPacket({ data: bytes(20_000) }), 16)
    const sent = split([frame({ ...tcpTrain, size: 9 }, packet)]) ?? []
    assert.equal(sent.length, Math.ceil(20_000 / 9))
    assert.ok(sent.every(intact))
  })

  const packet = partialChecksum(tcpPacket({ data: bytes(250) }), 16)
  for (const [name, header, given] of [
    ['segments of no size', { ...tcpTrain, size: 0 }, packet],
    ['a train whose checksum is said to be filled in', { ...tcpTrain, flags: 0 }, packet],
    ['a checksum beyond the packet', { flags: 1, start: 280, offset: 16 }, packet],
    ['a checksum inside of the IPv4 header', { flags: 1, start: 4, offset: 6 }, packet],
    ['a TCP train that is UDP', tcpTrain, udpPacket({ data: bytes(250) })],
    ['a UDP train that is TCP', { ...tcpTrain, gso: 5, offset: 6 }, packet],
    ['a train for IPv6', { ...tcpTrain, gso: 4 }, packet],
    ['an unknown kind of train', { ...tcpTrain, gso: 77 }, packet],
    ['a train of a fragment', tcpTrain, ipPacket({ protocol: 6, fragment: 0x2000, payload: bytes(200) })],
    ['a train without data', tcpTrain, tcpPacket({ data: bytes(0) })],
    ['a train shorter than a TCP header', tcpTrain, ipPacket({ protocol: 6, payload: bytes(19) })],
    ['TCP options beyond the packet', tcpTrain, ipPacket({ protocol: 6, payload: new Uint8Array(30).fill(0xf0) })],
    ['a checksum at the wrong place', { ...tcpTrain, offset: 6 }, packet],
    ['a sum from the wrong place', { ...tcpTrain, start: 24 }, packet],
  ] as const) {
    it(`refuses ${name}`, () => assert.equal(split([frame(header, given)]), undefined))
  }
})
