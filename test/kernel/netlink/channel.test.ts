import assert from 'node:assert/strict'
import { dumpAddresses } from '../../../kernel/netlink/address-messages.ts'
import { NetlinkChannel } from '../../../kernel/netlink/channel.ts'
import { NLM_F_ACK } from '../../../kernel/netlink/constants.ts'
import { deleteLink } from '../../../kernel/netlink/link-messages.ts'
import { behind, eachMessage, type Message } from '../../../kernel/netlink/message.ts'
import { EINTR, ENOBUFS, type NetlinkSocket } from '../../../kernel/netlink/socket.ts'
import { OpFailure } from '../../../kernel/table.ts'

const EAGAIN = 11
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const ITEM = 20
const INTERRUPTED = 0x10

describe('a netlink channel', () => {
  it('gives a verdict on each request, in order', async () => {
    const kernel = new ScriptedKernel((sequence) => [verdict(sequence, sequence % 2 === 0 ? 0 : -17)])
    assert.deepEqual(await codes(kernel, 5), ['EEXIST', 'ok', 'EEXIST', 'ok', 'EEXIST'])
  })

  it('sends in batches and lets the event loop run between them', async () => {
    const kernel = new ScriptedKernel((sequence) => [verdict(sequence, 0)])
    let turns = 0
    const count = () => {
      turns += 1
      if (kernel.sends.length < 4) setImmediate(count)
    }
    setImmediate(count)
    assert.equal((await codes(kernel, 200)).length, 200)
    assert.deepEqual(kernel.sends, [64, 64, 64, 8])
    assert.ok(turns >= 3)
  })

  it('lets two callers take turns', async () => {
    const kernel = new ScriptedKernel((sequence) => [verdict(sequence, 0)])
    const channel = new NetlinkChannel({ socket: kernel })
    const long = channel.request(Array.from({ length: 300 }, () => deleteLink(1)))
    const short = channel.request([deleteLink(1)])
    await Promise.all([long, short])
    assert.deepEqual(kernel.sends, [64, 1, 64, 64, 64, 44])
  })

  it('hands answers to the request that they belong to', async () => {
    const kernel = new ScriptedKernel((sequence) => [item(sequence, sequence), verdict(sequence, 0)])
    const seen: string[] = []
    const channel = new NetlinkChannel({ socket: kernel })
    await channel.request([deleteLink(1), deleteLink(2), deleteLink(3)], (index, message) =>
      seen.push(`${index} ${numberOf(message)}`),
    )
    assert.deepEqual(seen, ['0 1', '1 2', '2 3'])
  })

  it('tries again when a signal came', async () => {
    const kernel = new ScriptedKernel((sequence) => [-EINTR, verdict(sequence, 0)])
    kernel.refusals.push(-EINTR)
    assert.deepEqual(await codes(kernel, 2), ['ok', 'ok'])
  })

  it('names what was not sent', async () => {
    const kernel = new ScriptedKernel(() => [])
    kernel.refusals.push(-1)
    assert.deepEqual(await codes(kernel, 2), ['EPERM', 'EPERM'])
  })

  it('asks for the verdict on the last request, and hears of refusals anyway', async () => {
    const kernel = new ScriptedKernel((sequence) => [verdict(sequence, sequence === 2 ? -17 : 0)])
    assert.deepEqual(await codes(kernel, 4), ['ok', 'EEXIST', 'ok', 'ok'])
    assert.equal(kernel.answers, 2)
  })

  it('asks for the verdict on the last part of a transaction, whose end has none', async () => {
    const kernel = new ScriptedKernel((sequence) => [verdict(sequence, sequence === 2 ? -17 : 0)])
    const transaction = Array.from({ length: 4 }, () => deleteLink(1))
    const verdicts = await new NetlinkChannel({ socket: kernel }).exchange(transaction)
    assert.deepEqual(
      verdicts.map((error) => error?.code ?? 'ok'),
      ['ok', 'EEXIST', 'ok', 'ok'],
    )
    assert.equal(kernel.answers, 2)
  })

  it('reports requests on which nothing is known', async () => {
    const lost = ['ENOBUFS', 'ENOBUFS', 'EEXIST', 'ENOBUFS']
    const losing = (what: (sequence: number) => (Uint8Array | number)[]) =>
      codes(new ScriptedKernel((sequence) => (sequence === 3 ? [verdict(sequence, -17)] : what(sequence))), 5)
    const ok = (sequence: number) => [verdict(sequence, 0)]
    // Told by the kernel, seen as a datagram that cannot be read, or as the missing verdict on the last one.
    assert.deepEqual(await losing((sequence) => (sequence === 2 ? [-ENOBUFS] : ok(sequence))), [...lost, 'ok'])
    assert.deepEqual(await losing((sequence) => (sequence === 2 ? [new Uint8Array(20)] : ok(sequence))), [
      ...lost,
      'ok',
    ])
    assert.deepEqual(await losing((sequence) => (sequence === 5 ? [] : ok(sequence))), [...lost, 'ENOBUFS'])
    const large = framed(ITEM, 2, new Uint8Array(100_000))
    assert.deepEqual(await losing((sequence) => (sequence === 2 ? [large] : ok(sequence))), [...lost, 'ok'])
  })

  it('ignores answers to requests of before', async () => {
    const kernel = new ScriptedKernel((sequence) => [verdict(sequence - 3, -1), verdict(sequence, 0)])
    assert.deepEqual(await codes(kernel, 2), ['ok', 'ok'])
  })

  it('survives garbage between the verdicts', async () => {
    const kernel = new ScriptedKernel((sequence) => [
      Uint8Array.of(1, 2, 3),
      framed(NLMSG_ERROR, sequence, new Uint8Array(0)),
      framed(ITEM, sequence, new Uint8Array(2)),
    ])
    assert.deepEqual(await codes(kernel, 2), ['EBADMSG', 'EBADMSG'])
  })

  it('collects a dump of many parts', async () => {
    const kernel = new ScriptedKernel((sequence) => [
      Buffer.concat([item(sequence, 1), item(sequence, 2)]),
      item(sequence, 3),
      item(sequence + 1, 99),
      done(sequence),
    ])
    assert.deepEqual(await dumped(kernel), [1, 2, 3])
  })

  it('begins an interrupted dump anew', async () => {
    let tries = 0
    const kernel = new ScriptedKernel((sequence) => {
      tries += 1
      const flags = tries < 3 ? INTERRUPTED : 0
      return [item(sequence, tries), tries === 1 ? -ENOBUFS : item(sequence, 10), done(sequence, 0, flags)]
    })
    assert.deepEqual(await dumped(kernel), [3, 10])
  })

  it('begins anew with more room when a message did not fit', async () => {
    const large = 100_000
    let tries = 0
    const kernel = new ScriptedKernel((sequence) => {
      tries += 1
      return [framed(ITEM, sequence, new Uint8Array(large)), item(sequence, 7), done(sequence)]
    })
    assert.deepEqual(await dumped(kernel), [0, 7])
    assert.equal(tries, 2)
  })

  it('takes the last reading of a list that never holds still, each entry once, and tells of it', async () => {
    const kernel = new ScriptedKernel((sequence) => [
      Buffer.concat([item(sequence, 1), item(sequence, 2)]),
      Buffer.concat([item(sequence, 2), item(sequence, 3)]),
      done(sequence, 0, INTERRUPTED),
    ])
    const told: string[] = []
    const channel = new NetlinkChannel({ socket: kernel, onUnsteady: ({ code }) => told.push(code) })
    assert.deepEqual(await channel.dump(dumpAddresses(), numberOf), [1, 2, 3])
    assert.deepEqual([kernel.sends.length, told], [4, ['EINTR']])
    assert.deepEqual(await channel.dump(dumpAddresses(), numberOf), [1, 2, 3])
    assert.equal(told.length, 2)
  })

  it('gives up on a dump of which something is lost each time', async () => {
    const kernel = new ScriptedKernel((sequence) => [item(sequence, 1), -ENOBUFS, done(sequence)])
    await assert.rejects(dumped(kernel), (thrown: unknown) => thrown instanceof OpFailure && thrown.code === 'ENOBUFS')
    assert.equal(kernel.sends.length, 4)
  })

  it('throws what the kernel says against a dump', async () => {
    for (const answer of [verdict, done]) {
      const kernel = new ScriptedKernel((sequence) => [answer(sequence, -95)])
      await assert.rejects(
        dumped(kernel),
        (thrown: unknown) => thrown instanceof OpFailure && thrown.code === 'EOPNOTSUPP',
      )
    }
  })

  it('reads a dump to its end even when it cannot be understood', async () => {
    const kernel = new ScriptedKernel((sequence) => [
      framed(ITEM, sequence, new Uint8Array(1)),
      item(sequence, 1),
      done(sequence),
    ])
    await assert.rejects(dumped(kernel), (thrown: unknown) => thrown instanceof OpFailure && thrown.code === 'EBADMSG')
    assert.equal(kernel.waiting, 0)
  })
})

/** Answers each request with datagrams, or with errno numbers that reading shall give; a success only where that is asked for. */
class ScriptedKernel implements NetlinkSocket {
  readonly port = 77
  /** Number of messages of each datagram sent. */
  readonly sends: number[] = []
  /** Number of datagrams and errors given in answer. */
  answers = 0
  /** What the next attempts to send give. */
  readonly refusals: number[] = []
  readonly #answer: (sequence: number) => readonly (Uint8Array | number)[]
  #queue: (Uint8Array | number)[] = []

  constructor(answer: (sequence: number) => readonly (Uint8Array | number)[]) {
    this.#answer = answer
  }

  get waiting(): number {
    return this.#queue.length
  }

  send(bytes: Uint8Array, length: number): number {
    const refusal = this.refusals.shift()
    if (refusal !== undefined) return refusal
    let messages = 0
    eachMessage(new DataView(bytes.buffer), length, ({ sequence, flags }) => {
      messages += 1
      const answers = this.#answer(sequence).filter((answer) => flags & NLM_F_ACK || !isSuccess(answer, sequence))
      this.answers += answers.length
      this.#queue.push(...answers)
    })
    this.sends.push(messages)
    return length
  }

  receive(buffer: Uint8Array): number {
    const next = this.#queue.shift() ?? -EAGAIN
    if (typeof next === 'number') return next
    buffer.set(next.subarray(0, buffer.length))
    return next.length
  }

  watch(): void {}
  close(): void {}
}

async function codes(socket: NetlinkSocket, count: number): Promise<string[]> {
  const requests = Array.from({ length: count }, () => deleteLink(1))
  const verdicts = await new NetlinkChannel({ socket }).request(requests, (_index, message) => numberOf(message))
  return verdicts.map((error) => error?.code ?? 'ok')
}

async function dumped(socket: NetlinkSocket): Promise<number[]> {
  return await new NetlinkChannel({ socket }).dump(dumpAddresses(), numberOf)
}

function numberOf(message: Message): number {
  return message.view.getUint32(behind(message, 4) - 4, true)
}

function item(sequence: number, value: number): Uint8Array {
  return framed(ITEM, sequence, int32(value))
}

function done(sequence: number, error = 0, flags = 0): Uint8Array {
  return framed(NLMSG_DONE, sequence, int32(error), flags)
}

/** Error number, then the header of the request. */
function verdict(sequence: number, error: number): Uint8Array {
  return framed(NLMSG_ERROR, sequence, Buffer.concat([int32(error), Buffer.alloc(16)]))
}

function isSuccess(answer: Uint8Array | number, sequence: number): boolean {
  return typeof answer !== 'number' && Buffer.compare(answer, verdict(sequence, 0)) === 0
}

function framed(type: number, sequence: number, body: Uint8Array, flags = 0): Uint8Array {
  const header = Buffer.alloc(16)
  header.writeUInt32LE(16 + body.length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt16LE(flags, 6)
  header.writeUInt32LE(sequence >>> 0, 8)
  return Buffer.concat([header, body, Buffer.alloc((4 - (body.length % 4)) % 4)])
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
