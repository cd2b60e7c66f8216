import assert from 'node:assert/strict'
import { MemoryJournal } from '../../../kernel/reconciler/journal.ts'
import { Reconciler } from '../../../kernel/reconciler/reconciler.ts'
import { watchTables } from '../../../kernel/reconciler/watch-tables.ts'
import { Lifecycle } from '../../../lib/lifecycle.ts'
import { silentLogger } from '../../../lib/log.ts'
import { aborted } from '../../../lib/signals.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'
import { FakeKernel } from '../../fakes/kernel.ts'
import * as the from '../fixtures.ts'

describe('watches of tables', () => {
  it('make the reconciler read the kind again, and end with the process', async () => {
    const clock = new VirtualClock()
    const kernel = new FakeKernel()
    let ended = false
    let changed = () => {}
    const tables = kernel.tables.map((table) => {
      if (table.kind !== 'file') return table
      table.watch = async (onChange: () => void, signal: AbortSignal) => {
        changed = onChange
        await aborted(signal)
        ended = true
      }
      return table
    })
    const reconciler = new Reconciler({ tables, clock, log: silentLogger, journal: new MemoryJournal() })
    const lifecycle = new Lifecycle({ clock, onFault: () => 'again' })
    watchTables({ reconciler, lifecycle }, tables)
    const file = the.required(the.file('FLANNEL_MTU=1450\n'))
    reconciler.setDesired(the.desiredOf([file]))
    await clock.advance(1_000)
    kernel.change({ verb: 'remove', object: file })
    await clock.advance(1_000)
    assert.deepEqual(kernel.all('file'), [], 'nobody has told')
    changed()
    await clock.advance(100)
    assert.equal(kernel.all('file').length, 1)
    await lifecycle.stop()
    await settleTasks()
    assert.equal(ended, true)
    await reconciler.stop()
  })
})
