import assert from 'node:assert/strict'
import type { NetlinkSocket } from '../../../kernel/netlink/socket.ts'
import { Connections } from '../../../kernel/rules/connections.ts'
import { OpFailure } from '../../../kernel/table.ts'

const EAGAIN = 11

/** Refuses every request with this errno. */
class RefusingSocket implements NetlinkSocket {
  readonly port = 1
  isClosed = false
  readonly #errno: number
  readonly #answers: Buffer[] = []

  constructor(errno: number) {
    this.#errno = errno
  }

  send(bytes: Uint8Array, length: number): number {
    const refusal = Buffer.alloc(36)
    refusal.writeUInt32LE(36, 0)
    refusal.writeUInt16LE(2, 4)
    refusal.writeUInt32LE(Buffer.from(bytes).readUInt32LE(8), 8)
    refusal.writeInt32LE(-this.#errno, 16)
    this.#answers.push(refusal)
    return length
  }

  receive(buffer: Uint8Array): number {
    const next = this.#answers.shift()
    if (next === undefined) return -EAGAIN
    buffer.set(next)
    return next.length
  }

  watch(): void {}

  close(): void {
    this.isClosed = true
  }
}

describe('connections that the kernel tracks', () => {
  for (const tracked of [undefined, '0']) {
    it(`are none, without a question that makes the kernel load a module, where it says ${tracked ?? 'nothing'} of them`, async () => {
      const open = () => assert.fail('asked')
      assert.equal(await new Connections({ open, sysctl: () => tracked }).count(() => true), 0)
    })
  }

  const refusals: readonly (readonly [errno: number, text: RegExp])[] = [
    [22, /^the kernel has no module nf_conntrack_netlink$/],
    [1, /not permitted/i],
  ]
  for (const [errno, text] of refusals) {
    it(`are unknown where the kernel refuses with ${errno}, and the socket is closed`, async () => {
      const socket = new RefusingSocket(errno)
      const connections = new Connections({ open: () => socket, sysctl: () => '7' })
      await assert.rejects(
        connections.count(() => true),
        (cause) => cause instanceof OpFailure && text.test(cause.message),
      )
      assert.equal(socket.isClosed, true)
    })
  }

  it('are unknown where the kernel has no netfilter', async () => {
    const connections = new Connections({ open: () => undefined, sysctl: () => '7' })
    await assert.rejects(
      connections.count(() => true),
      /no netfilter/,
    )
  })
})
