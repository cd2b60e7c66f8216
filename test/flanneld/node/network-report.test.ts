import assert from 'node:assert/strict'
import { type NodeCondition, reportNetwork } from '../../../flanneld/node/network-report.ts'
import type { Failure } from '../../../kernel/desired.ts'
import { Latest } from '../../../lib/latest.ts'
import { silentLogger } from '../../../lib/log.ts'
import { VirtualClock } from '../../fakes/clock.ts'

describe('NetworkUnavailable of the Node', () => {
  const stop = new AbortController()
  let clock: VirtualClock
  let stands: { status: string | undefined } | undefined
  let written: NodeCondition[]
  let refusals: number
  let failures: ReadonlyMap<string, Failure>
  let notReady: readonly string[]
  let isAlone: boolean
  let changed: Latest<number>

  const broken = {
    object: { role: { class: 'required' } },
    cause: 'refused',
    text: 'no flannel.1',
  } as unknown as Failure

  beforeEach(() => {
    clock = new VirtualClock()
    stands = { status: undefined }
    written = []
    refusals = 0
    failures = new Map()
    notReady = ['no subnet leased yet']
    isAlone = false
    changed = new Latest<number>('changes')
    const node = {
      changes: changed,
      status: () => stands,
      set: async (condition: NodeCondition) => {
        if (refusals > 0) {
          refusals -= 1
          throw new Error('forbidden')
        }
        written.push(condition)
        stands = { status: condition.status }
      },
    }
    const agent = {
      changes: changed,
      notReady: () => notReady,
      reconciler: { failures: () => failures },
      get isAlone() {
        return isAlone
      },
    }
    reportNetwork({ agent, node, clock, log: silentLogger }, stop.signal).catch(() => {})
  })

  after(() => stop.abort())

  async function now(change: () => void, ms = 2_000) {
    change()
    changed.set((changed.current ?? 0) + 1)
    await clock.advance(ms)
    return written.map(({ status }) => status)
  }
  const ready = () => {
    notReady = []
    failures = new Map()
  }
  const breakIt = () => {
    notReady = ['no flannel.1']
    failures = new Map([['link flannel.1', broken]])
  }

  it('is not touched before the node is ready, and then False in flannel\u2019s words', async () => {
    assert.deepEqual(await now(() => {}, 120_000), [])
    assert.deepEqual(await now(ready), ['False'])
    const { lastHeartbeatTime, lastTransitionTime, ...said } = written[0] as NodeCondition
    assert.deepEqual(said, {
      type: 'NetworkUnavailable',
      status: 'False',
      reason: 'FlannelIsUp',
      message: 'Flannel is running on this node',
    })
    assert.match(lastHeartbeatTime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    assert.equal(lastTransitionTime, lastHeartbeatTime)
  })

  it('is True only after a required object has been missing for a minute', async () => {
    await now(ready)
    assert.deepEqual(await now(breakIt, 59_000), ['False'])
    assert.deepEqual(await now(ready), ['False'])
    assert.deepEqual(await now(breakIt, 59_000), ['False'])
    assert.deepEqual(await now(() => {}, 3_000), ['False', 'True'])
    assert.equal(written[1]?.message, 'no flannel.1')
    assert.deepEqual(await now(ready), ['False', 'True', 'False'])
  })

  it('is True where a node that has told its subnet knows of no other for a minute', async () => {
    const alone = () => {
      isAlone = true
    }
    assert.deepEqual(await now(alone, 59_000), [])
    assert.deepEqual(await now(() => {}, 3_000), ['True'])
    assert.match(written[0]?.message ?? '', /the leases of the other nodes are not known yet/)
    isAlone = false
    assert.deepEqual(await now(ready), ['True', 'False'])
  })

  it('is written again when somebody else changes it', async () => {
    await now(ready)
    const change = () => {
      stands = { status: 'True' }
    }
    assert.deepEqual(await now(change), ['False', 'False'])
  })

  it('waits for the Node, and tries again when it is refused', async () => {
    stands = undefined
    assert.deepEqual(await now(ready), [])
    refusals = 1
    const appear = () => {
      stands = { status: undefined }
    }
    assert.deepEqual(await now(appear, 1_000), [])
    assert.deepEqual(await now(() => {}, 5_000), ['False'])
  })
})
