import assert from 'node:assert/strict'
import fc from 'fast-check'
import { repeat } from '../../long.ts'
import { back, plain, setUp } from './both-directions.ts'
import { ipPacket, partialChecksum, tcpPacket, udpPacket } from './fake-kernel.ts'

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
