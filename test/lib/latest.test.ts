import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { Latest } from '../../lib/latest.ts'
import { settleTasks } from '../fakes/clock.ts'

const never = new AbortController().signal

/** Follows a source into a list; `done` when that has ended. */
function follow(source: Latest<number>, signal = never): { readonly seen: number[]; readonly done: Promise<void> } {
  const seen: number[] = []
  const run = async () => {
    for await (const value of source.watch(signal)) seen.push(value)
  }
  return { seen, done: run() }
}

/** Reads one value and goes. */
async function first(source: Latest<number>, signal = never): Promise<number | undefined> {
  for await (const value of source.watch(signal)) return value
  return undefined
}

describe('Latest', () => {
  it('shows each reader the newest value, and each value once', async () => {
    const source = new Latest<number>('numbers')
    const early = follow(source)
    source.set(1)
    source.set(2)
    await settleTasks()
    const late = follow(source)
    await settleTasks()
    source.set(2)
    await settleTasks()
    assert.deepEqual(early.seen, [2, 2])
    assert.deepEqual(late.seen, [2, 2])
  })

  it('misses nothing that is set while a reader is busy', async () => {
    const source = new Latest<number>('numbers')
    const seen: number[] = []
    source.set(1)
    for await (const value of source.watch(never)) {
      seen.push(value)
      if (value < 3) source.set(value + 1)
      else source.close()
      await settleTasks()
    }
    assert.deepEqual(seen, [1, 2, 3])
  })

  it('ends with the signal, with `close`, and with its reader', async () => {
    const source = new Latest<number>('numbers')
    const stop = new AbortController()
    const stopped = follow(source, stop.signal)
    const closed = follow(source)
    source.set(1)
    assert.equal(await first(source), 1)
    await settleTasks()
    stop.abort()
    await stopped.done
    source.set(2)
    source.close()
    await closed.done
    assert.deepEqual([stopped.seen, closed.seen], [[1], [1, 2]])
    assert.equal(await first(source, stop.signal), undefined)
  })

  it('keeps nothing of a reader that has gone', async () => {
    const source = new Latest<number>('numbers')
    const { signal } = new AbortController()
    source.set(1)
    const { done } = follow(source, signal)
    assert.equal(getEventListeners(signal, 'abort').length, 1)
    assert.equal(await first(source, signal), 1)
    assert.equal(getEventListeners(signal, 'abort').length, 1)
    source.close()
    await done
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  })
})
