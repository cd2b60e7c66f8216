import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { VxlanDriver } from '../../../kernel/kinds/link/drivers/vxlan.ts'
import { parseAddress, writeAddress } from '../../../kernel/netlink/address-messages.ts'
import { AttributeTable, MalformedMessage, MessageWriter } from '../../../kernel/netlink/attributes.ts'
import { parseTranslated } from '../../../kernel/netlink/conntrack-messages.ts'
import { DeviceIndex } from '../../../kernel/netlink/device-index.ts'
import { EventReader } from '../../../kernel/netlink/event-reader.ts'
import { acknowledgement } from '../../../kernel/netlink/kernel-error.ts'
import { createLink, linkOf, parseLink } from '../../../kernel/netlink/link-messages.ts'
import { eachMessage, type Message } from '../../../kernel/netlink/message.ts'
import {
  fdbOf,
  neighbourOf,
  parseNeighbour,
  writeFdb,
  writeNeighbour,
} from '../../../kernel/netlink/neighbour-messages.ts'
import { NexthopIds } from '../../../kernel/netlink/nexthop-ids.ts'
import { parseNexthop, parseOwnNexthop, writeNexthop } from '../../../kernel/netlink/nexthop-messages.ts'
import { parseLookup, parseRoute, routeOf, writeRoute } from '../../../kernel/netlink/route-messages.ts'
import type { Fdb, IpipDriver, Link, Neighbour, Route } from '../../../kernel/objects.ts'
import type { KernelEvent } from '../../../kernel/table.ts'
import { cidrOf, type Family, type IpAddr, ipFromNumber, type MacAddr } from '../../../lib/address.ts'

const decoders: Readonly<Record<string, (message: Message) => unknown>> = {
  parseLink,
  parseAddress,
  parseRoute,
  parseLookup,
  parseNeighbour,
  parseNexthop,
  parseTranslated,
  acknowledgement,
}

const types = fc.constantFrom(16, 17, 20, 21, 24, 25, 28, 29, 104, 105, 2, 3, 256)
/** Fixed fields of a plausible family, then attributes whose lengths and types are mostly right: gets deeper than noise. */
const attribute = fc
  .tuple(fc.nat(70), fc.uint8Array({ maxLength: 24 }), fc.option(fc.nat(65535), { freq: 8 }))
  .map(([type, payload, wrongLength]) => {
    const bytes = Buffer.alloc(4 + ((payload.length + 3) & ~3))
    bytes.writeUInt16LE(wrongLength ?? 4 + payload.length, 0)
    bytes.writeUInt16LE(type, 2)
    bytes.set(payload, 4)
    return bytes
  })
const body = fc
  .tuple(fc.constantFrom(0, 2, 7, 10), fc.constantFrom(4, 8, 12, 16), fc.array(attribute, { maxLength: 6 }))
  .chain(([family, fixed, attributes]) =>
    fc.uint8Array({ minLength: fixed, maxLength: fixed }).map((bytes) => {
      bytes[0] = family
      return Buffer.concat([bytes, ...attributes])
    }),
  )

describe('decoders of netlink messages', () => {
  it('throw nothing but MalformedMessage and read nothing outside the message', () => {
    fc.assert(
      fc.property(types, fc.oneof(fc.uint8Array({ maxLength: 200 }), body), (type, bytes) => {
        // Whoever reads past the end meets the end of the buffer, which is a RangeError.
        const view = new DataView(Uint8Array.from(bytes).buffer)
        for (const [name, decode] of Object.entries(decoders)) {
          const message = { type, flags: 0x300, sequence: 1, port: 0, view, start: 0, end: bytes.length }
          onlyMalformed(() => decode(message), name)
        }
      }),
      { numRuns: 3000 },
    )
  })

  it('do not look behind a message that is followed by another', () => {
    fc.assert(
      fc.property(types, body, fc.uint8Array({ maxLength: 40 }), (type, bytes, behind) => {
        const answers = [Buffer.alloc(0), Buffer.from(behind)].map((rest) => {
          const view = new DataView(Uint8Array.from(Buffer.concat([bytes, rest])).buffer)
          return Object.values(decoders).map((decode) => {
            const message = { type, flags: 0x300, sequence: 1, port: 0, view, start: 0, end: bytes.length }
            try {
              return JSON.stringify(decode(message))
            } catch (cause) {
              return String(cause)
            }
          })
        })
        assert.deepEqual(answers[0], answers[1])
      }),
    )
  })

  it('survive any datagram', () => {
    const reader = new EventReader({
      devices: new DeviceIndex({ channel: undefined as never }),
      nexthops: new NexthopIds(),
      ownPort: 9,
    })
    fc.assert(
      fc.property(fc.array(fc.tuple(types, body)), fc.uint8Array({ maxLength: 30 }), (messages, rest) => {
        const datagram = Buffer.concat([...messages.map(([type, bytes]) => framed(type, bytes)), rest])
        const view = new DataView(Uint8Array.from(datagram).buffer)
        const events: KernelEvent[] = []
        onlyMalformed(
          () => eachMessage(view, datagram.length, (message) => reader.read(message, events, () => {})),
          'the monitor',
        )
      }),
      { numRuns: 1000 },
    )
  })

  it('give back what the builders wrote', () => {
    fc.assert(
      fc.property(family, fc.bigInt(0n, 2n ** 32n - 1n), fc.nat(32), macs, (kind, number, length, mac) => {
        const address = ipFromNumber(kind, kind === 4 ? number : number << 90n)
        const dst = cidrOf(address, length)
        const route: Route = {
          kind: 'route',
          family: kind,
          dst,
          metric: 7,
          type: 'unicast',
          device: 'd',
          via: address,
          onLink: true,
          protocol: 102,
        }
        const neighbour: Neighbour = { kind: 'neighbour', family: kind, device: 'd', address, mac }
        const fdb: Fdb = { kind: 'fdb', device: 'd', mac, dst: address }
        const readRoute = parseRoute(messageOf(writeRoute(route, { index: 3 }, 'create')))
        assert.deepEqual(readRoute && routeOf(readRoute, 'd', new NexthopIds()), route)
        const throughNexthop = parseRoute(messageOf(writeRoute(route, { nexthop: 0x66000001 }, 'create')))
        assert.deepEqual([throughNexthop?.dst, throughNexthop?.nexthop, readRoute?.nexthop], [dst, 0x66000001, 0])
        const nexthop = { id: 0x66000001, protocol: 102, gateway: { index: 3, via: address, onLink: length > 7 } }
        assert.deepEqual(parseNexthop(messageOf(writeNexthop(nexthop, 'create'))), nexthop)
        const readNeighbour = parseNeighbour(messageOf(writeNeighbour(neighbour, 3, 'create')))
        assert.deepEqual(readNeighbour && neighbourOf(readNeighbour, 'd'), neighbour)
        const readFdb = parseNeighbour(messageOf(writeFdb(fdb, 3, 'create')))
        assert.deepEqual(readFdb && fdbOf(readFdb, 'd'), fdb)
        const record = parseAddress(
          messageOf(writeAddress({ kind: 'address', device: 'd', family: kind, address, length }, 3, 'create')),
        )
        assert.equal(record?.address, address)
        assert.equal(record?.length, length)
      }),
    )
  })

  it('see no gateway in a nexthop of another form', () => {
    const plain = { id: 7, protocol: 102, gateway: { index: 3, via: '10.5.3.0' as IpAddr, onLink: true } }
    const bytes = writeNexthop(plain, 'create')
    // NHA_GROUP, NHA_BLACKHOLE, NHA_ENCAP, NHA_FDB
    for (const type of [2, 4, 8, 11]) {
      const marked = Buffer.concat([bytes, Uint8Array.of(4, 0, type, 0)])
      marked.writeUInt32LE(marked.length, 0)
      assert.deepEqual(parseNexthop(messageOf(marked)), { ...plain, gateway: undefined })
    }
    const others = writeNexthop({ ...plain, protocol: 11 }, 'create')
    assert.deepEqual([parseOwnNexthop(messageOf(bytes)), parseOwnNexthop(messageOf(others))], [plain, undefined])
  })

  it('give back a vxlan device', () => {
    for (const local of ['192.168.64.11', 'fd64::11'] as IpAddr[]) {
      const driver: VxlanDriver = {
        type: 'vxlan',
        vni: 4096,
        underlay: 'eth0',
        local,
        port: 8472,
        learning: true,
        gbp: true,
      }
      const mac = '02:11:22:33:44:55' as MacAddr
      const link: Link = { kind: 'link', name: 'flannel.1', mtu: 1450, mac, up: true, driver }
      const record = parseLink(messageOf(createLink(link, driver, 7)))
      assert.deepEqual(record && linkOf(record, (index) => (index === 7 ? 'eth0' : undefined)), link)
    }
  })

  it('give back an ipip device', () => {
    const plain: IpipDriver = { type: 'ipip', ttl: 0, pathMtuDiscovery: false }
    const drivers: readonly IpipDriver[] = [
      plain,
      { ...plain, local: '192.168.64.11' as IpAddr, underlay: 'eth0' },
      { ...plain, remote: '192.168.64.12' as IpAddr, ttl: 64, pathMtuDiscovery: true },
      { ...plain, encapsulation: { sourcePort: 8285, port: 8286 } },
    ]
    for (const driver of drivers) {
      const link: Link = { kind: 'link', name: 'flannel.ipip', mtu: 1480, up: true, driver }
      const record = parseLink(messageOf(createLink(link, driver, driver.underlay === undefined ? 0 : 7)))
      assert.deepEqual(record && linkOf(record, (index) => (index === 7 ? 'eth0' : undefined)), link)
    }
  })
})

describe('an attribute table', () => {
  it('forgets the attributes of the message before', () => {
    const table = new AttributeTable(4)
    const full = new MessageWriter().begin(0, 0).putU32(1, 7).finish()
    table.read(new DataView(full.buffer), 16, full.length)
    assert.equal(table.u32(1), 7)
    table.read(new DataView(full.buffer), 16, 16)
    assert.equal(table.has(1), false)
    assert.equal(table.length(1), 0)
    assert.throws(() => table.u32(1), MalformedMessage)
  })
})

describe("the kernel's verdict", () => {
  const refusal = (...extended: Buffer[]) =>
    messageOf(framed(2, Buffer.concat([int32(-17), Buffer.alloc(16), ...extended]), 0x300))
  const text = (words: string) => {
    const bytes = Buffer.alloc(4 + ((words.length + 4) & ~3))
    bytes.writeUInt16LE(5 + words.length, 0)
    bytes.writeUInt16LE(1, 2)
    bytes.write(words, 4)
    return bytes
  }

  it('is undefined for success', () => {
    assert.equal(acknowledgement(messageOf(framed(2, Buffer.concat([int32(0), Buffer.alloc(16)])))), undefined)
  })

  it("carries the errno's name and the kernel's own words", () => {
    assert.deepEqual(acknowledgement(refusal(text('Nexthop has invalid gateway'))), {
      code: 'EEXIST',
      message: 'Nexthop has invalid gateway',
    })
  })

  it('falls back to the words of the C library', () => {
    assert.deepEqual(acknowledgement(refusal()), { code: 'EEXIST', message: 'file already exists' })
  })
})

const family = fc.constantFrom<Family>(4, 6)
const macs = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':') as MacAddr)

function onlyMalformed(decode: () => unknown, name: string): void {
  try {
    decode()
  } catch (cause) {
    assert.ok(cause instanceof MalformedMessage, `${name} threw ${String(cause)}`)
  }
}

function framed(type: number, bytes: Uint8Array, flags = 0): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt32LE(16 + bytes.length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt16LE(flags, 6)
  return Buffer.concat([header, bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}

function messageOf(bytes: Uint8Array): Message {
  const copy = Uint8Array.from(bytes)
  let found: Message | undefined
  eachMessage(new DataView(copy.buffer), copy.length, (message) => {
    found = { ...message }
  })
  assert.ok(found)
  return found
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
