import assert from 'node:assert/strict'
import type { EndedConnections, LeavingRoute } from '../../../flanneld/config/ended-connections.ts'
import { ConnectionWatch } from '../../../flanneld/switch/connection-watch.ts'
import { Latest } from '../../../lib/latest.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import * as the from '../../kernel/fixtures.ts'

describe('the count of connections that a change ends', () => {
  const route = { dst: the.cidr('10.64.9.0/24'), device: 'flannel.1' }

  class Setting {
    readonly clock = new VirtualClock()
    readonly conditions = new Latest<number>('conditions')
    readonly end = new AbortController()
    leaving: readonly LeavingRoute[] = []
    found: EndedConnections = { count: 3, unknown: '' }
    /** Of one look. */
    tookMs = 0
    looks = 0
    readonly watch = new ConnectionWatch({
      clock: this.clock,
      leaving: () => this.leaving,
      count: async () => {
        this.looks += 1
        if (this.tookMs > 0) await this.clock.sleep(this.tookMs, this.end.signal).catch(() => {})
        return this.found
      },
    })
    readonly running = this.watch.run(this.conditions, this.end.signal)
    #changes = 0

    async change(leaving: readonly LeavingRoute[]): Promise<void> {
      this.leaving = leaving
      this.#changes += 1
      this.conditions.set(this.#changes)
      await this.clock.advance(1)
    }
  }

  let setting: Setting
  beforeEach(() => {
    setting = new Setting()
  })
  afterEach(async () => {
    setting.end.abort()
    await setting.clock.advance(1)
    await setting.running
  })

  it('is absent, and the kernel is not asked, where no route is going to move', async () => {
    await setting.change([])
    await setting.clock.advance(60_000)
    assert.deepEqual([setting.watch.status, setting.looks], [undefined, 0])
  })

  it('is there at once when a change begins, is looked at again, and ends with the change', async () => {
    await setting.change([route])
    assert.deepEqual(setting.watch.status, { count: 3, unknown: '' })
    setting.found = { count: null, unknown: 'not permitted (EPERM)' }
    await setting.clock.advance(10_000)
    assert.deepEqual([setting.watch.status, setting.looks], [setting.found, 2])
    setting.leaving = []
    assert.equal(setting.watch.status, undefined)
    await setting.clock.advance(60_000)
    assert.equal(setting.looks, 2)
    await setting.change([route])
    assert.equal(setting.looks, 3)
  })

  it('takes a hundredth of the time at most, however long one look is', async () => {
    setting.tookMs = 2_000
    await setting.change([route])
    await setting.clock.advance(1_000_000)
    assert.ok(setting.looks <= 6, `${setting.looks} looks`)
    assert.ok(setting.looks >= 4, `${setting.looks} looks`)
  })
})
