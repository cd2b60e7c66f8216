import assert from 'node:assert/strict'
import { type Answer, firstToAnswer } from '../../subnet/etcd/endpoint-race.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

/** When an endpoint answers or fails, in ms after it was asked; `Infinity`: never. */
interface Scripted {
  readonly after: number
  readonly fault?: string
  readonly unfit?: true
}

describe('firstToAnswer', () => {
  let clock: VirtualClock
  let asked: [number, number][]
  let open: Set<number>
  let stop: AbortController

  beforeEach(() => {
    clock = new VirtualClock()
    asked = []
    open = new Set()
    stop = new AbortController()
  })
  afterEach(() => assert.equal(clock.sleeping, 0))

  const race = (script: readonly Scripted[]): Promise<number> =>
    firstToAnswer(
      clock,
      script.map((_, index) => index),
      {
        staggerMs: 200,
        discard: (index) => void open.delete(index),
        ask: async (index, signal): Promise<Answer<number>> => {
          const { after, fault, unfit } = script[index] as Scripted
          asked.push([index, clock.now()])
          await clock.sleep(Math.min(after, 1e9), signal)
          if (fault !== undefined) throw new Error(fault)
          open.add(index)
          return { value: index, fit: unfit !== true }
        },
      },
      stop.signal,
    )

  const never = { after: Number.POSITIVE_INFINITY }
  const wins: readonly [string, readonly Scripted[], winner: number, at: number, asked: readonly number[]][] = [
    ['the only one, however slow', [{ after: 5000 }], 0, 5000, [0]],
    ['the preferred one if it answers soon, nobody else is asked', [{ after: 150 }, { after: 0 }], 0, 150, [0]],
    ['the next one beside one that is silent', [never, { after: 10 }], 1, 210, [0, 200]],
    ['the next one at once where the first refuses', [{ after: 1, fault: 'no' }, { after: 10 }], 1, 11, [0, 1]],
    [
      'the preferred one that is slow if the others are slower',
      [{ after: 250 }, { after: 300 }, never],
      0,
      250,
      [0, 200],
    ],
    [
      'the last one behind four that are silent',
      [never, never, never, never, { after: 10 }],
      4,
      810,
      [0, 200, 400, 600, 800],
    ],
    ['one that serves rather than one that cannot', [{ after: 10, unfit: true }, { after: 50 }], 1, 60, [0, 10]],
    [
      'one that cannot serve where no other answers',
      [
        { after: 10, unfit: true },
        { after: 50, fault: 'no' },
      ],
      0,
      60,
      [0, 10],
    ],
    [
      'of those that cannot serve the preferred one',
      [
        { after: 300, unfit: true },
        { after: 10, unfit: true },
      ],
      0,
      300,
      [0, 200],
    ],
  ]
  for (const [what, script, winner, at, times] of wins) {
    it(`takes ${what}`, async () => {
      const taken = race(script).then((index) => [index, clock.now()])
      await clock.advance(10_000)
      assert.deepEqual(await taken, [winner, at])
      assert.deepEqual(
        asked,
        times.map((time, index) => [index, time]),
      )
      // Losers are told to stop, and what was opened is given back.
      assert.deepEqual([...open], [winner])
    })
  }

  it('names all faults, in the order of preference', async () => {
    const lost = assert.rejects(
      race([
        { after: 500, fault: 'a' },
        { after: 1, fault: 'b' },
      ]),
      (cause) => {
        assert.ok(cause instanceof AggregateError)
        assert.deepEqual(cause.errors.map(String), ['Error: a', 'Error: b'])
        return true
      },
    )
    await clock.advance(1000)
    await lost
  })

  it('ends with the signal, and leaves nothing open', async () => {
    const lost = assert.rejects(race([{ after: 10, unfit: true }, never]), /over/)
    await clock.advance(100)
    stop.abort(new Error('over'))
    await settleTasks()
    await lost
    assert.equal(open.size, 0)
  })
})
