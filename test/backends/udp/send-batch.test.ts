import assert from 'node:assert/strict'
import { Arena } from '../../../backends/udp/memory.ts'
import { ProxyMemory } from '../../../backends/udp/proxy-memory.ts'
import { MESSAGE_BYTES, SendBatch } from '../../../backends/udp/send-batch.ts'
import { makeMemory, readMessage, type SentMessage } from './fake-kernel.ts'

const EIO = -5
const EAGAIN = -11
const EINVAL = -22
const EHOSTUNREACH = -113
const ENOBUFS = -105

/** A socket that takes what it is told to: each answer serves one call, then all is taken. */
function setUp(answers: readonly number[] = [], options: { segmentation?: boolean; patience?: number } = {}) {
  const memory = makeMemory()
  const shared = new ProxyMemory()
  const messages: SentMessage[] = []
  const left = [...answers]
  let calls = 0
  const send = (at: number, count: number) => {
    calls += 1
    const taken = Math.min(left.shift() ?? count, count)
    for (let index = 0; index < taken; index += 1) messages.push(readMessage(memory, at + index * MESSAGE_BYTES))
    return taken
  }
  const port = { send, awaitRoom: (tries: number) => tries < (options.patience ?? 2) }
  const arena = new Arena(memory)
  const data = arena.take(2 ** 20)
  const batch = new SendBatch(
    { arena, port, counters: shared.counters },
    { peerPort: 8285, segmentation: options.segmentation ?? true },
  )
  return {
    batch,
    counters: () => shared.read(),
    calls: () => calls,
    put(to: number, ...sizes: number[]) {
      for (const size of sizes) {
        batch.begin(to, size)
        batch.add(data, size)
      }
    },
    sent: () =>
      messages.map(({ to, port, datagrams }) => `${to}:${port} ${datagrams.map((one) => one.length).join(' ')}`),
  }
}

describe('udp send batch', () => {
  const a = 0x0a000001
  const b = 0xc0a80002 | 0

  it('sends datagrams of one size to one peer as one message, the last may be shorter', () => {
    const { batch, put, sent, calls } = setUp()
    put(a, 100, 100, 60, 100)
    put(b, 100, 101)
    put(a, 100)
    batch.flush()
    assert.deepEqual(sent(), [
      '10.0.0.1:8285 100 100 60',
      '10.0.0.1:8285 100',
      '192.168.0.2:8285 100',
      '192.168.0.2:8285 101',
      '10.0.0.1:8285 100',
    ])
    assert.equal(calls(), 1)
    batch.flush()
    assert.equal(calls(), 1)
  })

  it('keeps within 64 datagrams and 65,507 bytes a message, however much there is', () => {
    const { batch, put, sent, counters } = setUp()
    put(a, ...Array(1_000).fill(50))
    put(b, ...Array(100).fill(1472))
    batch.flush()
    assert.equal(counters().packetsOut, 1_100)
    assert.equal(counters().bytesOut, 50_000 + 147_200)
    assert.equal(sent().filter((line) => line.startsWith('192')).length, 3)
  })

  it('sends each alone where the kernel cannot cut', () => {
    const { batch, put, sent } = setUp([], { segmentation: false })
    put(a, 50, 50)
    batch.flush()
    assert.deepEqual(sent(), ['10.0.0.1:8285 50', '10.0.0.1:8285 50'])
  })

  it('goes on with the rest when only some were taken', () => {
    const { batch, put, sent, calls } = setUp([1, 1])
    put(a, 10, 20, 30)
    batch.flush()
    assert.equal(sent().length, 3)
    assert.equal(calls(), 3)
  })

  for (const [name, errno] of [
    ['EAGAIN', EAGAIN],
    ['ENOBUFS', ENOBUFS],
  ] as const) {
    it(`waits at ${name}, and drops the message when that does not help`, () => {
      const patient = setUp([errno, errno])
      patient.put(a, 10, 20)
      patient.batch.flush()
      assert.equal(patient.sent().length, 2)
      const full = setUp([errno, errno, errno])
      full.put(a, 10, 10)
      full.put(b, 20)
      full.batch.flush()
      assert.deepEqual(full.sent(), ['192.168.0.2:8285 20'])
      assert.equal(full.counters().dropSendFull, 2)
    })
  }

  it('drops what the kernel refuses, and sends the next', () => {
    const { batch, put, sent, counters } = setUp([EHOSTUNREACH])
    put(a, 10)
    put(b, 20)
    batch.flush()
    assert.deepEqual(sent(), ['192.168.0.2:8285 20'])
    assert.equal(counters().dropSendRefused, 1)
    assert.equal(counters().packetsOut, 1)
  })

  it('sends one by one what may not be cut on this path, for this message only', () => {
    const { batch, put, sent, counters } = setUp([EINVAL])
    put(a, 100, 100, 40)
    put(b, 70, 70)
    batch.flush()
    assert.deepEqual(sent(), ['10.0.0.1:8285 100', '10.0.0.1:8285 100', '10.0.0.1:8285 40', '192.168.0.2:8285 70 70'])
    assert.equal(counters().unsegmented, 1)
    assert.equal(counters().packetsOut, 5)
  })

  it('gives up cutting for good when the device cannot', () => {
    const { batch, put, sent } = setUp([EIO])
    put(a, 100, 100)
    batch.flush()
    put(a, 100, 100)
    batch.flush()
    assert.deepEqual(sent(), Array(4).fill('10.0.0.1:8285 100'))
  })
})
