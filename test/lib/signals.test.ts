import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { systemClock, withDeadline } from '../../lib/clock.ts'
import { untilFirst } from '../../lib/signals.ts'
import { sourceFiles } from '../source-files.ts'

describe('untilFirst', () => {
  const waits = (signal: AbortSignal) => systemClock.sleep(60_000, signal)

  it('is aborted with the reason of the first, also of one that was aborted before', async () => {
    for (const index of [0, 1]) {
      const controllers = [new AbortController(), new AbortController()]
      const running = untilFirst(
        controllers.map(({ signal }) => signal),
        waits,
      )
      controllers[index]?.abort(new Error(`number ${index}`))
      await assert.rejects(running, { message: `number ${index}` })
      await assert.rejects(
        untilFirst(
          controllers.map(({ signal }) => signal),
          waits,
        ),
        { message: `number ${index}` },
      )
    }
  })

  it('hands on what the work gives and leaves nothing behind', async () => {
    const { signal } = new AbortController()
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    Object.assign(signal, {
      addEventListener: (...args: Parameters<typeof add>) => {
        listeners += 1
        add(...args)
      },
      removeEventListener: (...args: Parameters<typeof remove>) => {
        listeners -= 1
        remove(...args)
      },
    })
    assert.equal(await untilFirst([signal], async () => 7), 7)
    await assert.rejects(
      untilFirst([signal], () => Promise.reject(new Error('of the work'))),
      /of the work/,
    )
    assert.equal(listeners, 0)
  })

  it('keeps a deadline though garbage is collected, which AbortSignal.any does not', async () => {
    setFlagsFromString('--expose-gc')
    const collect: unknown = runInNewContext('gc')
    setFlagsFromString('--no-expose-gc')
    assert(typeof collect === 'function')
    const never = new AbortController().signal
    const running = withDeadline(200, never, (soon) => untilFirst([soon, never], waits))
    for (let times = 0; times < 3; times += 1) {
      await pause(20)
      collect()
    }
    const ended = await Promise.race([running.catch((cause: Error) => cause.name), pause(10_000)])
    assert.equal(ended, 'TimeoutError')
  })

  it('is used in place of AbortSignal.any wherever a daemon waits', () => {
    const root = join(import.meta.dirname, '../..')
    const using = sourceFiles(['lib', 'subnet', 'kernel', 'backends', 'flanneld']).filter(({ path }) =>
      /AbortSignal\.any\(/.test(readFileSync(join(root, path), 'utf8')),
    )
    assert.deepEqual(
      using.map(({ path }) => path),
      [],
    )
  })
})
