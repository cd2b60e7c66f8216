import assert from 'node:assert/strict'
import type { KernelObject } from '../../../kernel/objects.ts'
import { KindMirror } from '../../../kernel/reconciler/mirror.ts'
import { OpFailure } from '../../../kernel/table.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import * as the from '../fixtures.ts'

const WANTED = the.desiredOf([the.peerRoute('10.64.2.0/24'), the.peerRoute('10.64.3.0/24')].map(the.required))
const [KEY = '', OTHER = ''] = WANTED.objects.keys()

describe('the mirror of a kind', () => {
  let mirror: KindMirror
  let clock: VirtualClock
  let held: readonly KernelObject[]
  let dumps: number
  /** Of the table, while it is read or asked whether anything changed. */
  let meanwhile: () => void
  let isUnchanged: boolean

  beforeEach(() => {
    clock = new VirtualClock()
    held = [...WANTED.objects.values()]
    dumps = 0
    meanwhile = () => {}
    isUnchanged = true
    mirror = new KindMirror({
      kind: 'route',
      dump: async () => {
        dumps += 1
        meanwhile()
        return held
      },
      unchanged: async () => {
        meanwhile()
        return isUnchanged
      },
      apply: () => assert.fail(),
    })
    for (const [key, object] of WANTED.objects) mirror.wanted.set(key, object)
  })

  const refresh = () => mirror.refresh(clock, WANTED, () => {})
  /** A pass that comes to its end. */
  const pass = async () => {
    await refresh()
    const keys = mirror.startComparing()
    mirror.endComparing()
    return keys
  }

  it('is compared as a whole when it was read, and then by what changes', async () => {
    assert.equal(await pass(), 'all')
    assert.equal(mirror.hasWork, false)
    mirror.markDirty([KEY])
    assert.deepEqual(await pass(), new Set([KEY]))
    assert.deepEqual([mirror.hasWork, dumps], [false, 1])
  })

  it('keeps what a pass had to compare that did not come to its end', async () => {
    await pass()
    mirror.markDirty([KEY])
    mirror.startComparing()
    mirror.markDirty([OTHER])
    assert.deepEqual(mirror.comparing, new Set([KEY]))
    assert.deepEqual(await pass(), new Set([KEY, OTHER]))
    assert.deepEqual(await pass(), new Set())
  })

  it('that is read once more behind the comparison shows all to removals, and is compared by the next pass', async () => {
    await pass()
    mirror.startComparing()
    mirror.invalidate()
    await refresh()
    assert.equal(mirror.comparing, 'all')
    mirror.endComparing()
    assert.equal(mirror.nextDue(7), 7)
    assert.equal(await pass(), 'all')
    assert.equal(mirror.nextDue(7), Number.POSITIVE_INFINITY)
  })

  it('compares what hung on a device that is gone', async () => {
    await pass()
    mirror.dropDevice('flannel.1')
    assert.deepEqual(await pass(), new Set([KEY, OTHER]))
  })

  it('that is suspect is read only if the table tells of a change', async () => {
    await pass()
    mirror.suspect()
    assert.deepEqual([await pass(), dumps], [new Set(), 1])
    isUnchanged = false
    mirror.suspect()
    assert.deepEqual([await pass(), dumps], ['all', 2])
  })

  it('counts an invalidation that comes while it is read, or asked', async () => {
    const once = () => {
      meanwhile = () => {}
      mirror.invalidate()
    }
    meanwhile = once
    await pass()
    assert.equal(mirror.isStale, true)
    await pass()
    assert.deepEqual([mirror.isStale, dumps], [false, 2])
    mirror.suspect()
    meanwhile = once
    await pass()
    assert.equal(dumps, 3)
  })

  it('that cannot be read is tried again later each time, and says when', async () => {
    meanwhile = () => {
      throw new OpFailure({ code: 'EINTR', message: 'interrupted' })
    }
    for (const due of [250, 750, 1_750]) {
      assert.equal(await refresh(), false)
      assert.equal(await refresh(), false)
      assert.equal(mirror.nextDue(clock.now()), due)
      await clock.advance(due - clock.now())
    }
    assert.equal(dumps, 3 * 3)
    assert.deepEqual(mirror.unreadable, { text: 'kind route could not be read: interrupted (EINTR)', code: 'EINTR' })
    meanwhile = () => {}
    assert.equal(await refresh(), true)
    assert.equal(mirror.unreadable, undefined)
  })
})
