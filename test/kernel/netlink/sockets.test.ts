import assert from 'node:assert/strict'
import { dumpSocketsAt, IPPROTO_TCP, IPPROTO_UDP } from '../../../kernel/netlink/socket-messages.ts'
import type { IpAddr } from '../../../lib/address.ts'

const NO_ID = '00'.repeat(48)
/** Where ss asks for all states, we leave out TIME_WAIT. */
const STATES = 'bf0f0000'

describe('a question for sockets', () => {
  const cases: readonly (readonly [command: string, ours: Uint8Array, hex: string])[] = [
    [
      'ss -4tan src 10.5.1.0',
      dumpSocketsAt('10.5.1.0' as IpAddr, IPPROTO_TCP, 4),
      `5c000000 14000000 00000000 00000000 02060000 ${STATES} ${NO_ID} 14000100 07101400 02200000 ffffffff 0a050100`,
    ],
    [
      'ss -6uan src 10.5.1.0',
      dumpSocketsAt('10.5.1.0' as IpAddr, IPPROTO_UDP, 6),
      `5c000000 14000000 00000000 00000000 0a110000 ${STATES} ${NO_ID} 14000100 07101400 02200000 ffffffff 0a050100`,
    ],
    [
      'ss -6tan src fd00:5:72::',
      dumpSocketsAt('fd00:5:72::' as IpAddr, IPPROTO_TCP, 6),
      `68000000 14000000 00000000 00000000 0a060000 ${STATES} ${NO_ID} 20000100 071c2000 0a800000 ffffffff fd000005 00720000 00000000 00000000`,
    ],
  ]
  for (const [command, ours, hex] of cases) {
    it(`equals that of ${command}, without those in TIME_WAIT`, () => {
      assert.equal(Buffer.from(ours).toString('hex'), hex.replaceAll(' ', ''))
    })
  }
})
