import assert from 'node:assert/strict'
import { eachMessage } from '../../../kernel/netlink/message.ts'
import {
  addElement,
  deleteElement,
  eachElement,
  type SetElement,
  transactionBounds,
  userText,
} from '../../../kernel/netlink/set-element-messages.ts'
import type { IpAddr } from '../../../lib/address.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const text = (value: string) => Buffer.from(value).toString('hex')
const ip = (value: string) => value as IpAddr

describe('messages about elements of sets', () => {
  it('addElement: nft add element inet t vteps4 { 192.168.64.12 comment "p" }', () => {
    const message = addElement(
      { table: 't', set: 'vteps4', keys: 'address' },
      { source: ip('192.168.64.12'), comment: 'p' },
    )
    const expected = [
      '4c0000000c0a0006', // length, NFT_MSG_NEWSETELEM, create and exclusive
      '0000000000000000', // sequence and port
      '01000000', // inet
      `06000100${text('t\0\0\0')}`,
      `0b000200${text('vteps4\0\0')}`,
      '1c000300', // elements
      '18000100', // one element
      '0c000100', // its key
      '08000100c0a8400c',
      `08000600${'0002'}${text('p\0')}`, // type of a comment, its length
    ].join('')
    const written = hex(message)
    assert.equal(written.slice(8), expected.slice(8))
    assert.equal(message.length, new DataView(message.buffer).getUint32(0, true))
  })

  it('a key of device and address pads the device to sixteen bytes', () => {
    const message = deleteElement(
      { table: 't', set: 's', keys: 'device' },
      { device: 'flannel.1', source: ip('fc00::') },
    )
    const key = `${text('flannel.1')}${'00'.repeat(7)}fc00${'00'.repeat(14)}`
    assert(hex(message).endsWith(`24000100${key}`), hex(message))
  })

  it('a transaction says in network order which part of netfilter it is for', () => {
    const [begin, end] = transactionBounds()
    assert.equal(hex(begin), `1400000010000100${'00'.repeat(8)}0000000a`)
    assert.equal(hex(end), `1400000011000100${'00'.repeat(8)}0000000a`)
  })

  it('what was written is read again', () => {
    const items: SetElement[] = [
      { source: ip('192.168.64.12'), comment: '10.5.2.0/24' },
      { source: ip('2001:db8::1'), comment: '' },
      { device: 'flannel.1', source: ip('10.5.2.0'), comment: '10.5.2.0/24' },
      { outer: ip('192.168.64.12'), source: ip('10.5.2.0'), comment: 'x' },
      { outer: ip('2001:db8::1'), source: ip('fc00::'), comment: 'x' },
      { device: 'fifteen-bytes-x', source: ip('fc00::'), comment: 'fc00::/64' },
    ]
    for (const item of items) {
      const keys = item.outer !== undefined ? 'pair' : item.device !== undefined ? 'device' : 'address'
      const message = addElement({ table: 't', set: 's', keys }, item)
      const found: SetElement[] = []
      eachMessage(new DataView(message.buffer), message.length, (received) =>
        eachElement(received, { keys }, (one) => found.push(one)),
      )
      assert.deepEqual(found, [item])
    }
  })

  it('a comment is found among other user data', () => {
    const bytes = Uint8Array.from(Buffer.from(`\x02\x04abcd\x07\x03hi\0`, 'latin1'))
    assert.deepEqual([userText(bytes, 7), userText(bytes, 0), userText(Uint8Array.of(7, 200), 7)], ['hi', '', ''])
  })
})
