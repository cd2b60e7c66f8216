import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MessageWriter } from '../../../kernel/netlink/attributes.ts'
import { RTM_NEWNEIGH } from '../../../kernel/netlink/constants.ts'
import { DumpDigest } from '../../../kernel/netlink/dump-digest.ts'
import { eachMessage, type Message } from '../../../kernel/netlink/message.ts'
import { NEIGHBOUR_FORM, parseNeighbour } from '../../../kernel/netlink/neighbour-messages.ts'
import type { IpAddr, MacAddr } from '../../../lib/address.ts'

interface Entry {
  readonly address: string
  readonly mac: string
  readonly state?: number
  /** NDA_CACHEINFO begins with when it was confirmed. */
  readonly confirmed?: number
}

const REQUEST = new Uint8Array(16)
const first: Entry = { address: '10.5.1.0', mac: '02:00:00:00:00:01' }
const second: Entry = { address: '10.5.2.0', mac: '02:00:00:00:00:02' }
const dynamic: Entry = { address: '192.168.64.12', mac: '02:00:00:00:00:0c', state: 0x02 }

describe('the digest of a dump', () => {
  const cases: readonly [string, readonly Entry[], boolean][] = [
    ['the same list', [first, second], true],
    ['ages', [first, { ...second, confirmed: 77 }], true],
    ['what the kernel resolved by itself', [first, dynamic, second], true],
    ['another hardware address', [first, { ...second, mac: '02:00:00:00:00:03' }], false],
    ['another destination', [first, { ...second, address: '10.5.2.128' }], false],
    ['another state', [first, { ...second, state: 0xc0 }], false],
    ['one less', [first], false],
    ['one more', [first, second, { ...first, address: '10.5.3.0' }], false],
    ['another order', [second, first], false],
    ['nothing', [], false],
  ]
  for (const [what, entries, unchanged] of cases) {
    it(`${unchanged ? 'ignores' : 'notices'} ${what}`, async () => {
      const kernel = new ListingKernel([first, second])
      const digest = new DumpDigest({ channel: kernel }, NEIGHBOUR_FORM)
      await digest.dump(REQUEST, parseNeighbour)
      kernel.entries = entries
      assert.equal(await digest.unchanged(REQUEST), unchanged)
    })
  }

  it('knows nothing before the first dump, nor after one that failed', async () => {
    const kernel = new ListingKernel([first])
    const digest = new DumpDigest({ channel: kernel }, NEIGHBOUR_FORM)
    assert.equal(await digest.unchanged(REQUEST), false)
    await digest.dump(REQUEST, parseNeighbour)
    kernel.fails = true
    await assert.rejects(digest.dump(REQUEST, parseNeighbour))
    kernel.fails = false
    assert.equal(await digest.unchanged(REQUEST), false)
  })

  it('counts what an interrupted dump showed once', async () => {
    const kernel = new ListingKernel([first, second])
    const digest = new DumpDigest({ channel: kernel }, NEIGHBOUR_FORM)
    kernel.interruptions = 2
    assert.equal((await digest.dump(REQUEST, parseNeighbour)).length, 2)
    assert.equal(await digest.unchanged(REQUEST), true)
  })

  // Adjacent words whose highest bits change together are what a weak mixing does not see.
  it('notices any two bits that change', async () => {
    const bit = fc.nat({ max: 31 })
    await fc.assert(
      fc.asyncProperty(bit, bit, async (a, b) => {
        const kernel = new ListingKernel([first])
        const digest = new DumpDigest({ channel: kernel }, NEIGHBOUR_FORM)
        await digest.dump(REQUEST, parseNeighbour)
        kernel.entries = [{ address: flipped(first.address, a), mac: flippedMac(first.mac, b) }]
        assert.equal(await digest.unchanged(REQUEST), false)
      }),
    )
  })
})

class ListingKernel {
  entries: readonly Entry[]
  interruptions = 0
  fails = false
  #sequence = 0

  constructor(entries: readonly Entry[]) {
    this.entries = entries
  }

  async dump<T>(_request: Uint8Array, parse: (message: Message) => T | undefined): Promise<T[]> {
    if (this.fails) throw new Error('no')
    for (; this.interruptions > 0; this.interruptions -= 1) this.#list(parse)
    return this.#list(parse)
  }

  #list<T>(parse: (message: Message) => T | undefined): T[] {
    this.#sequence += 1
    const found: T[] = []
    for (const entry of this.entries) {
      const bytes = message(entry)
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      view.setUint32(8, this.#sequence, true)
      eachMessage(view, bytes.length, (one) => {
        const item = parse(one)
        if (item !== undefined) found.push(item)
      })
    }
    return found
  }
}

function message({ address, mac, state = 0x80, confirmed = 0 }: Entry): Uint8Array {
  const writer = new MessageWriter()
  // struct ndmsg: family, padding, index, state, flags, type
  writer.begin(RTM_NEWNEIGH, 0).u8(2).u8(0).u16(0).u32(5).u16(state).u8(0).u8(0)
  writer.putAddress(1, address as IpAddr).putMac(2, mac as MacAddr)
  return writer.putU32(3, confirmed).finish()
}

function flipped(address: string, bit: number): string {
  const octets = address.split('.').map(Number)
  octets[bit >> 3] = (octets[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return octets.join('.')
}

function flippedMac(mac: string, bit: number): string {
  const octets = mac.split(':').map((octet) => Number.parseInt(octet, 16))
  octets[bit >> 3] = (octets[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return octets.map((octet) => octet.toString(16).padStart(2, '0')).join(':')
}
