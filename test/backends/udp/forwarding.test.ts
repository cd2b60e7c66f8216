import assert from 'node:assert/strict'
import fc from 'fast-check'
import { sumOf } from '../../../backends/udp/checksum.ts'
import { Forwarding, writeUnreachable } from '../../../backends/udp/forwarding.ts'
import { addressNumber, buildPeerTable, PeerTable } from '../../../backends/udp/peer-table.ts'
import { counterNames } from '../../../backends/udp/proxy-memory.ts'
import { type Cidr, contains, type IpAddr, parseCidr, prefixLength } from '../../../lib/address.ts'
import { checksum, ipPacket, makeMemory } from './fake-kernel.ts'

const own = '10.5.1.0' as IpAddr
const peer = '192.168.64.12' as IpAddr
const table = new PeerTable(
  buildPeerTable(own, [
    { subnet: '10.5.2.0/24' as Cidr, publicIp: peer },
    { subnet: '10.5.3.0/24' as Cidr, publicIp: '200.0.0.3' as IpAddr },
  ]),
)

describe('udp checksum', () => {
  it('equals the slow one at every alignment', () => {
    const memory = makeMemory(4096)
    fc.assert(
      fc.property(fc.nat(64), fc.uint8Array({ maxLength: 2000 }), (offset, bytes) => {
        memory.bytes.fill(0xa5)
        memory.bytes.set(bytes, offset)
        assert.equal(sumOf(memory, offset, bytes.length), checksum(bytes))
      }),
    )
  })

  it('is exact for 64 KiB of ones', () => {
    const memory = makeMemory(2 ** 17)
    memory.bytes.fill(0xff)
    for (const offset of [0, 1, 2, 3])
      assert.equal(sumOf(memory, offset, 65_535), checksum(new Uint8Array(65_535).fill(255)))
  })
})

describe('udp peer table', () => {
  it('finds a route for 0.0.0.0 as for any other address', () => {
    const peers = [{ subnet: '0.0.0.0/0' as Cidr, publicIp: '192.168.64.12' as IpAddr }]
    assert.equal(new PeerTable(buildPeerTable(own, peers)).routeOf(0), addressNumber('192.168.64.12' as IpAddr))
  })

  it('finds the longest prefix', () => {
    const number = fc.integer({ min: 0, max: 0xffffffff })
    const address = number.map((n) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.') as IpAddr)
    const near = fc.nat(1023).map((n) => `10.5.${n >>> 8}.${n & 255}` as IpAddr)
    const subnet = fc
      .tuple(fc.oneof(near, address), fc.integer({ min: 0, max: 32 }))
      .map(([ip, length]) => parseCidr(`${ip}/${length}`) as Cidr)
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.record({ subnet, publicIp: address.filter((ip) => ip !== '0.0.0.0') }), {
          selector: (one) => one.subnet,
          maxLength: 40,
        }),
        fc.array(fc.oneof(near, address), { minLength: 1 }),
        (peers, asked) => {
          const built = new PeerTable(buildPeerTable(own, peers))
          for (const ip of asked) {
            const [best] = peers
              .filter((one) => contains(one.subnet, ip))
              .sort((a, b) => prefixLength(b.subnet) - prefixLength(a.subnet))
            assert.equal(built.routeOf(addressNumber(ip)), best === undefined ? 0 : addressNumber(best.publicIp))
            assert.equal(
              built.isPeer(addressNumber(ip)),
              peers.some((one) => one.publicIp === ip),
            )
          }
        },
      ),
    )
  })

  it('needs few steps at 10,000 peers', () => {
    const peers = Array.from({ length: 10_000 }, (_unused, n) => ({
      subnet: `10.${n >>> 8}.${n & 255}.0/24` as Cidr,
      publicIp: `172.16.${n >>> 8}.${n & 255}` as IpAddr,
    }))
    const built = new PeerTable(buildPeerTable(own, peers))
    // Nanoseconds would depend on the machine; half a million searches within seconds hold on any, step by step they would not.
    for (let n = 0; n < 500_000; n += 1) built.routeOf((10 << 24) | ((n % 10_000) << 8) | 1)
    assert.equal(built.routeOf(addressNumber('10.39.15.9' as IpAddr)), addressNumber('172.16.39.15' as IpAddr))
    assert.equal(built.routeOf(addressNumber('10.39.16.9' as IpAddr)), 0)
  }).timeout(3_000)
})

describe('udp forwarding', () => {
  const memory = makeMemory()
  const forwarding = new Forwarding(memory)
  const at = 64
  const put = (packet: Uint8Array) => {
    memory.bytes.set(packet, at)
    return packet.length
  }
  const out = (packet: Uint8Array, length = put(packet)) => {
    put(packet)
    const to = forwarding.outgoing(at, length, table)
    return to === 0 ? counterNames[forwarding.refusal] : to
  }
  const into = (packet: Uint8Array, from: IpAddr = peer, length = put(packet)) => {
    put(packet)
    const total = forwarding.incoming(at, length, addressNumber(from), table)
    return total === 0 ? counterNames[forwarding.refusal] : total
  }
  const changed = (packet: Uint8Array, at: number, ...bytes: number[]) => {
    const copy = packet.slice()
    copy.set(bytes, at)
    return copy
  }
  const back = ipPacket({ source: '10.5.2.2', destination: '10.5.1.2' })

  it('sends to the peer of the destination, one less to live', () => {
    assert.equal(out(ipPacket({ ttl: 64 })), addressNumber(peer))
    assert.equal(memory.bytes[at + 8], 63)
    assert.equal(checksum(memory.bytes.subarray(at, at + 20)), 0xffff)
    assert.equal(out(ipPacket({ destination: '10.5.3.9' })), addressNumber('200.0.0.3' as IpAddr))
  })

  it('keeps the header checksum right for every TTL and identification', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 255 }), fc.nat(0xffff), (ttl, id) => {
        out(ipPacket({ ttl, id }))
        assert.equal(checksum(memory.bytes.subarray(at, at + 20)), 0xffff)
      }),
    )
  })

  const packet = ipPacket()
  for (const [name, given, expected] of [
    ['TTL 1', ipPacket({ ttl: 1 }), 'dropTtl'],
    ['TTL 0', ipPacket({ ttl: 0 }), 'dropTtl'],
    ['an unknown subnet', ipPacket({ destination: '10.5.9.1' }), 'dropNoPeer'],
    ['an unknown subnet with TTL 1', ipPacket({ destination: '10.5.9.1', ttl: 1 }), 'dropNoPeer'],
    ['the own address', ipPacket({ destination: '10.5.1.0' }), 'dropNoPeer'],
    ['IPv6', changed(packet, 0, 0x60), 'dropNotIpv4'],
    ['version 0', changed(packet, 0, 0x05), 'dropNotIpv4'],
    ['a header of 16 bytes', changed(packet, 0, 0x44), 'dropMalformed'],
    ['a header longer than the packet', changed(packet, 0, 0x4f), 'dropMalformed'],
    ['a total length below the header', changed(packet, 2, 0, 19), 'dropMalformed'],
    ['a total length beyond the packet', changed(packet, 2, 0, 29), 'dropMalformed'],
    ['19 bytes', packet.subarray(0, 19), 'dropMalformed'],
    ['one byte', packet.subarray(0, 1), 'dropMalformed'],
    ['nothing', new Uint8Array(0), 'dropMalformed'],
  ] as const) {
    it(`drops what the tun gives as ${name}`, () => assert.equal(out(given), expected))
  }

  it('takes a packet from the peer that has its source', () => {
    assert.equal(into(back), back.length)
    assert.equal(memory.bytes[at + 8], 63)
  })
  it("takes a packet with the peer's own address as source", () => {
    assert.equal(into(ipPacket({ source: peer })), 28)
  })
  it('takes fragments and options', () => {
    assert.equal(into(ipPacket({ source: '10.5.2.2', fragment: 0x2000 })), 28)
    assert.equal(into(changed(ipPacket({ source: '10.5.2.2', payload: new Uint8Array(40) }), 0, 0x4f)), 60)
  })
  it('cuts off what follows the packet', () => {
    assert.equal(into(Buffer.concat([back, Buffer.alloc(18)])), back.length)
  })

  for (const [name, given, expected] of [
    ["another peer's subnet", ipPacket({ source: '10.5.3.2' }), 'dropInnerSource'],
    ["another peer's address", ipPacket({ source: '200.0.0.3' }), 'dropInnerSource'],
    ['the own address', ipPacket({ source: own }), 'dropInnerSource'],
    ['the own subnet', ipPacket({ source: '10.5.1.2' }), 'dropInnerSource'],
    ['no address', ipPacket({ source: '0.0.0.0' }), 'dropInnerSource'],
    ['a foreign address', ipPacket({ source: '8.8.8.8' }), 'dropInnerSource'],
    ['TTL 1', ipPacket({ source: '10.5.2.2', ttl: 1 }), 'dropTtl'],
    ['TTL 0', ipPacket({ source: '10.5.2.2', ttl: 0 }), 'dropTtl'],
    ['IPv6', changed(back, 0, 0x60), 'dropNotIpv4'],
    ['a header of 0 bytes', changed(back, 0, 0x40), 'dropMalformed'],
    ['a total length beyond the datagram', changed(back, 2, 0xff, 0xff), 'dropMalformed'],
    ['a truncated packet', back.subarray(0, 27), 'dropMalformed'],
  ] as const) {
    it(`drops what a peer sends with ${name}`, () => assert.equal(into(given), expected))
  }

  it('drops what a stranger could send, whatever it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const before = bytes.slice()
        const total = into(bytes, '8.8.4.4' as IpAddr)
        assert.equal(typeof total, 'string')
        assert.deepEqual(memory.bytes.slice(at, at + bytes.length), before)
      }),
    )
  })
})

describe('udp net unreachable', () => {
  const memory = makeMemory(4096)
  const answer = (packet: Uint8Array) => {
    memory.bytes.set(packet, 64)
    const length = writeUnreachable(memory, 64, packet.length, 1024, addressNumber(own))
    return memory.bytes.slice(1024, 1024 + length)
  }

  it('quotes the header and 8 bytes', () => {
    const packet = ipPacket({
      destination: '10.5.9.1',
      protocol: 17,
      payload: Uint8Array.from({ length: 30 }, (_u, n) => n),
    })
    const reply = answer(packet)
    assert.equal(
      Buffer.from(reply).toString('hex'),
      '450000380000000008019cba0a0501000a050102' + // from 10.5.1.0 to 10.5.1.2, TTL 8, ICMP
        '0300f0ef00000000' +
        Buffer.from(packet.subarray(0, 28)).toString('hex'),
    )
    assert.equal(checksum(reply.subarray(0, 20)), 0xffff)
    assert.equal(checksum(reply.subarray(20)), 0xffff)
  })

  it('is not sent for ICMP, later fragments and sources that are no host', () => {
    for (const packet of [
      ipPacket({ protocol: 1 }),
      ipPacket({ protocol: 17, fragment: 0x2001 }),
      ipPacket({ protocol: 17, source: '0.0.0.0' }),
      ipPacket({ protocol: 17, source: '127.0.0.1' }),
      ipPacket({ protocol: 17, source: '224.0.0.1' }),
      ipPacket({ protocol: 17, source: '255.255.255.255' }),
    ]) {
      assert.equal(answer(packet).length, 0)
    }
    assert.ok(answer(ipPacket({ protocol: 17, fragment: 0x2000 })).length > 0)
  })
})
