import assert from 'node:assert/strict'
import { ObstacleWatch } from '../../../flanneld/node/obstacle-watch.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import type { Obstacle, PacketPath } from '../../../kernel/obstacles/packet-path.ts'
import type { RuleMonitor } from '../../../kernel/rules/rule-monitor.ts'
import { OpFailure } from '../../../kernel/table.ts'
import type { Cidr, IpAddr } from '../../../lib/address.ts'
import { Latest } from '../../../lib/latest.ts'
import { aborted } from '../../../lib/signals.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'

const network = '10.5.0.0/16' as Cidr
const forward: PacketPath = { hook: 'forward', family: 4, network }
const outer = { protocol: 'udp', port: 8472, device: 'eth0', local: '192.0.2.1' as IpAddr } as const
const input: PacketPath = { hook: 'input', family: 4, network, outer }
const policy: Obstacle = { text: 'a policy drops', command: 'iptables -P FORWARD ACCEPT' }

describe('watch over rules of others', () => {
  let clock: VirtualClock
  let conditions: ConditionSet
  let passes: Latest<number>
  let paths: readonly PacketPath[]
  let found: Map<PacketPath['hook'], readonly Obstacle[]>
  let fault: OpFailure | undefined
  let reads: number
  let rulesChanged: () => void
  let watch: ObstacleWatch
  let stop: AbortController
  let running: Promise<void>

  beforeEach(() => {
    clock = new VirtualClock()
    conditions = new ConditionSet({ clock })
    passes = new Latest('passes')
    paths = [forward, input]
    found = new Map()
    fault = undefined
    reads = 0
    const reader = {
      read: async (asked: readonly PacketPath[]) => {
        reads += 1
        if (fault !== undefined) throw fault
        return asked.map(({ hook }) => found.get(hook) ?? [])
      },
    }
    watch = new ObstacleWatch({ reader, monitor, conditions, clock, paths: () => paths })
    stop = new AbortController()
    running = watch.run(passes, stop.signal)
  })

  afterEach(async () => {
    stop.abort()
    await running
  })

  const monitor: Pick<RuleMonitor, 'watch'> = {
    watch: async (kind, onChange, signal) => {
      assert.equal(kind, 'iptables-chain', 'a table of our own alone is nobody else’s')
      rulesChanged = onChange
      await aborted(signal)
    },
  }
  const pass = async () => {
    passes.set((passes.current ?? 0) + 1)
    await settleTasks()
  }
  const told = () => conditions.list().map(({ code, text }) => [code, text])

  it('reads once our own rules have been tried, and again only where rules or the question have changed', async () => {
    await settleTasks()
    assert.equal(reads, 0)
    for (let count = 0; count < 3; count += 1) await pass()
    assert.equal(reads, 1)
    rulesChanged()
    await settleTasks()
    assert.equal(reads, 1, 'what has changed may be ours, and is put right first')
    await pass()
    assert.equal(reads, 2)
    paths = [...paths]
    await pass()
    assert.equal(reads, 2)
    paths = [forward]
    await pass()
    assert.equal(reads, 3)
  })

  it('looks at what no event tells of with the passes that look at the rest of this kind', async () => {
    await pass()
    await clock.advance(24_000)
    await pass()
    assert.equal(reads, 1)
    await clock.advance(6_000)
    await pass()
    assert.equal(reads, 2)
  })

  it('names what is in the way as long as it is', async () => {
    found.set('forward', [policy, { text: 'a rule drops', command: '' }])
    found.set('input', [{ text: 'a rule closes 8472/udp', command: 'ufw allow 8472/udp' }])
    await pass()
    assert.deepEqual(
      conditions.list().map(({ code, severity, text, remedy }) => [code, severity, text, remedy]),
      [
        [
          'advisory clear-path IPv4 forward 10.5.0.0/16',
          'info',
          'clear-path IPv4 forward 10.5.0.0/16: a policy drops; open it with: iptables -P FORWARD ACCEPT; a rule drops (EACCES)',
          'rules of others are left alone: their owner must let the overlay through',
        ],
        [
          'advisory clear-path IPv4 input 8472/udp',
          'info',
          'clear-path IPv4 input 8472/udp: a rule closes 8472/udp; open it with: ufw allow 8472/udp (EACCES)',
          'rules of others are left alone: their owner must let the tunnel of peers in',
        ],
      ],
    )
    found.delete('forward')
    rulesChanged()
    await pass()
    assert.deepEqual(
      told().map(([code]) => code),
      ['advisory clear-path IPv4 input 8472/udp'],
    )
    paths = []
    await pass()
    assert.deepEqual(told(), [])
  })

  it('says when rules cannot be read, keeps what it knew, and tries again with every pass', async () => {
    found.set('forward', [policy])
    await pass()
    const [known] = told()
    fault = new OpFailure({ code: 'EPERM', message: 'no permission' })
    rulesChanged()
    await pass()
    await pass()
    assert.equal(reads, 3)
    const text = 'kind clear-path could not be read: no permission (EPERM); what was known of it counts'
    assert.deepEqual(told(), [['unreadable clear-path', text], known])
    fault = undefined
    await pass()
    assert.deepEqual(told(), [known])
  })

  it('misses no change that is told while it reads', async () => {
    let letGo = () => {}
    const slow = new Promise<void>((resolve) => {
      letGo = resolve
    })
    let isFirst = true
    const reader = {
      read: async () => {
        reads += 1
        if (isFirst) await slow
        isFirst = false
        return []
      },
    }
    const other = new ObstacleWatch({ reader, monitor, conditions, clock, paths: () => paths })
    const stopped = new AbortController()
    const run = other.run(passes, stopped.signal)
    passes.set(1)
    await settleTasks()
    const before = reads
    rulesChanged()
    passes.set(2)
    letGo()
    await settleTasks()
    assert.equal(reads, before + 1)
    stopped.abort()
    await run
  })
})
