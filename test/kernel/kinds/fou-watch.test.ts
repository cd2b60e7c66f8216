import assert from 'node:assert/strict'
import { FouPortTable } from '../../../kernel/kinds/fou-port/table.ts'
import type { GenericNetlink } from '../../../kernel/netlink/generic.ts'
import type { FouPort } from '../../../kernel/objects.ts'
import { VirtualClock } from '../../fakes/clock.ts'

const PORT: FouPort = { kind: 'fou-port', port: 8285, protocol: 4 }

describe('the watch over FOU ports', () => {
  /** `held` is what the kernel has. */
  function setUp(held: FouPort[]) {
    const clock = new VirtualClock()
    let reads = 0
    const dump = async () => {
      reads += 1
      return [...held]
    }
    const generic = { familyOf: async () => 30, channel: { dump } } as unknown as GenericNetlink
    const table = new FouPortTable({ generic, clock })
    const stop = new AbortController()
    let changes = 0
    const onChange = () => {
      changes += 1
    }
    const watching = table.watch(onChange, stop.signal)
    const end = async () => {
      stop.abort(new Error('the test is over'))
      await watching
    }
    return { clock, table, end, changes: () => changes, reads: () => reads }
  }

  it('tells of a port that was closed, once, and of one that was changed', async () => {
    const held = [PORT]
    const { clock, table, end, changes } = setUp(held)
    await table.dump()
    await clock.advance(3_000)
    assert.equal(changes(), 0)
    held[0] = { ...PORT, protocol: 47 }
    await clock.advance(1_000)
    assert.equal(changes(), 1)
    held.pop()
    await clock.advance(3_000)
    assert.equal(changes(), 2)
    await end()
  })

  it('asks nothing while there is no port', async () => {
    const { clock, table, end, reads } = setUp([])
    await table.dump()
    await clock.advance(60_000)
    assert.deepEqual([reads(), clock.sleeping], [1, 0])
    await end()
  })

  it('leaves alone what the reconciler has seen itself', async () => {
    const held = [PORT]
    const { clock, table, end, changes } = setUp(held)
    await table.dump()
    await clock.advance(300)
    held.push({ ...PORT, port: 8286 })
    await table.dump()
    await clock.advance(3_000)
    assert.equal(changes(), 0)
    await end()
  })
})
