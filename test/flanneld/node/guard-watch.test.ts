import assert from 'node:assert/strict'
import { GuardWatch } from '../../../flanneld/node/guard-watch.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import type { SeenElement } from '../../../kernel/netlink/set-element-messages.ts'
import { OpFailure } from '../../../kernel/table.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { silentLogger } from '../../../lib/log.ts'
import { VirtualClock } from '../../fakes/clock.ts'

describe('watch over the ingress guard', () => {
  let clock: VirtualClock
  let conditions: ConditionSet
  let lines: [string, Record<string, unknown>][]
  let counted: Map<string, number>
  let seen: Map<string, SeenElement[]>
  let asked: number
  let watch: GuardWatch

  const offender = (n: number, fields: Partial<SeenElement> = {}): SeenElement => {
    return { device: 'eth0', source: `192.0.2.${n}` as IpAddr, comment: '', packets: 1, ageMs: n, ...fields }
  }

  beforeEach(() => {
    clock = new VirtualClock()
    conditions = new ConditionSet({ clock })
    lines = []
    counted = new Map([['outer-source', 0]])
    seen = new Map()
    asked = 0
    const guard = {
      counters: async () => counted,
      seen: async ({ set }: { set: string }) => {
        asked += 1
        return seen.get(set) ?? []
      },
    }
    const warn = (text: string, fields = {}) => void lines.push([text, fields])
    const log = { ...silentLogger, warn }
    watch = new GuardWatch({ guard, clock, log, conditions }, { mode: 'count', allow: [], instance: '' })
  })

  it('asks who was refused only when something was', async () => {
    await watch.look()
    assert.deepEqual([asked, lines, conditions.list()], [0, [], []])
    assert.deepEqual(watch.status.refused, { 'outer-source': 0, 'inner-source': 0, 'direct-source': 0, container: 0 })
    counted.set('outer-source', 2)
    seen.set('outer4', [offender(9, { packets: 2 })])
    await watch.look()
    const lastSeen = new Date(clock.wall() - 9).toISOString()
    const row = { rule: 'outer-source', source: '192.0.2.9', device: 'eth0', packets: 2, lastSeen }
    assert.deepEqual(watch.status.offenders, [row])
    assert.deepEqual(lines, [
      [
        'the ingress guard refused a sender',
        { rule: 'outer-source', source: '192.0.2.9', device: 'eth0', packets: 2, dropped: false },
      ],
    ])
    assert.deepEqual(
      conditions.list().map(({ code, severity }) => [code, severity]),
      [['ingress-refused', 'info']],
    )
    const before = asked
    await watch.look()
    assert.deepEqual([asked, lines.length], [before, 1])
  })

  it('names each once, and no more than ten a minute', async () => {
    for (let round = 1; round < 4; round += 1) {
      counted.set('outer-source', round)
      seen.set(
        'outer4',
        Array.from({ length: 30 }, (_unused, n) => offender(n)),
      )
      await watch.look()
    }
    assert.equal(lines.length, 10)
    await clock.advance(60_000)
    counted.set('outer-source', 9)
    seen.set('outer4', [offender(99)])
    await watch.look()
    assert.deepEqual(lines.slice(10), [
      ['more senders were refused than are named', { senders: 20 }],
      [
        'the ingress guard refused a sender',
        { rule: 'outer-source', source: '192.0.2.99', device: 'eth0', packets: 1, dropped: false },
      ],
    ])
  })

  it('shows the last ones first, and not all of them', async () => {
    counted.set('outer-source', 1)
    seen.set(
      'outer4',
      Array.from({ length: 100 }, (_unused, n) => offender(100 - n)),
    )
    await watch.look()
    assert.equal(watch.status.offenders.length, 50)
    assert.equal(watch.status.offenders[0]?.source, '192.0.2.1')
  })

  it('goes on where the guard cannot be read', async () => {
    const guard = {
      counters: async () => {
        throw new OpFailure({ code: 'EPERM', message: 'no' })
      },
      seen: async () => [],
    }
    watch = new GuardWatch({ guard, clock, log: silentLogger, conditions }, { mode: 'on', allow: [], instance: '' })
    await watch.look()
    assert.deepEqual(watch.status, { mode: 'on', refused: {}, offenders: [] })
  })
})
