import assert from 'node:assert/strict'
import { dumpTranslated, parseTranslated } from '../../../kernel/netlink/conntrack-messages.ts'
import { eachMessage, type Message } from '../../../kernel/netlink/message.ts'

const bytes = (hex: string) => Buffer.from(hex.replace(/\s/g, ''), 'hex')

/** As Linux 6.18 lists a connection to a NodePort whose source is translated, too. */
const NODE_PORT = `d4000000 00012200 11530c6b 43390000 02000000
  34000180 14000180 08000100 7f000001 08000200 c0000207 1c000280 05000100 06000000 06000200 8f870000 06000300 75800000
  34000280 14000180 08000100 0a050100 08000200 c0000207 1c000280 05000100 06000000 06000200 15b30000 06000300 8f870000
  08000300 000001be 08000800 00000000 08000c00 e3290cda 08000b00 00000001 08000700 0006977f
  30000480 2c000180 05000100 03000000 05000200 0a000000 05000300 0a000000 06000400 23000000 06000500 23000000`
/** A part of one of IPv6. */
const IPV6 = `68000000 00010200 00000000 00000000 0a000000
  30000280 2c000180 14000300 fd000005 00030000 00000000 00000002 14000400 fd000005 00010000 00000000 00000000
  08000300 00000010 1c000180 05000100 06000000 06000200 15b30000 06000300 8f870000`

const parsed = (data: Buffer) => {
  const found: ReturnType<typeof parseTranslated>[] = []
  const view = new DataView(Uint8Array.from(data).buffer)
  eachMessage(view, data.length, (message: Message) => found.push(parseTranslated(message)))
  return found
}

describe('messages of connection tracking', () => {
  it('ask as conntrack -L -f ipv4 -u ASSURED does, of another bit', () => {
    const theirs = bytes('24000000 01010000 00000000 00000000 02000000 08000300 00000004 08001a00 00000004')
    theirs[27] = 0x10
    theirs[35] = 0x10
    assert.equal(Buffer.from(dumpTranslated(4)).toString('hex'), theirs.toString('hex'))
    theirs[16] = 10
    assert.equal(Buffer.from(dumpTranslated(6)).toString('hex'), theirs.toString('hex'))
  })

  it('say where the packets of a connection go and as whose', () => {
    assert.deepEqual(parsed(bytes(NODE_PORT)), [{ to: '10.5.1.0', as: '192.0.2.7' }])
    assert.deepEqual(parsed(bytes(IPV6)), [{ to: 'fd00:5:3::2', as: 'fd00:5:1::' }])
  })

  it('say nothing of a connection with its own source', () => {
    const own = bytes(NODE_PORT)
    own[own.indexOf(bytes('000001be')) + 3] = 0xae
    assert.deepEqual(parsed(own), [undefined])
  })
})
