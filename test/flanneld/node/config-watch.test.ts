import assert from 'node:assert/strict'
import type { LeasesInUse } from '../../../flanneld/config/admission.ts'
import { ConfigWatch } from '../../../flanneld/node/config-watch.ts'
import { obstacleBetween, parseConfiguration } from '../../../flanneld/node/configuration.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import { ConfigError } from '../../../lib/errors.ts'
import { Latest } from '../../../lib/latest.ts'
import { createLogger } from '../../../lib/log.ts'
import type { ConfigText } from '../../../subnet/types.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'

const good = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'

const noLeases: LeasesInUse = { own: undefined, leases: new Map(), occupied: [] }

async function start(...texts: readonly (string | undefined)[]) {
  return await startBeside({ leases: () => noLeases }, ...texts)
}

async function startBeside(
  beside: Pick<ConstructorParameters<typeof ConfigWatch>[0], 'leases' | 'beginWith'>,
  ...texts: readonly (string | undefined)[]
) {
  const source = new Latest<ConfigText>('config')
  const clock = new VirtualClock()
  const conditions = new ConditionSet({ clock })
  const lines: string[] = []
  const log = createLogger((_severity, message, fields) => void lines.push(`${message} ${JSON.stringify(fields)}`))
  const watch = new ConfigWatch({ ...beside, source, conditions, clock, log, obstacleBetween })
  const end = new AbortController()
  let fault: unknown
  const running = watch.run(end.signal).catch((cause) => {
    fault = cause
  })
  const tell = async (text: string | undefined) => {
    source.set({ text, revision: '1', origin: 'etcd:/coreos.com/network/config' })
    await settleTasks()
  }
  for (const text of texts) await tell(text)
  const stop = async () => {
    end.abort()
    await running
    return fault
  }
  const codes = () => conditions.list().map(({ code }) => code)
  const inUse = () => watch.changes.current
  return { inUse, tell, stop, codes, conditions, lines, clock, watch }
}

describe('network configuration', () => {
  it('is waited for, with the key in the condition', async () => {
    const world = await start(undefined)
    assert.deepEqual(world.codes(), ['config-missing'])
    assert.match(world.conditions.list()[0]?.text ?? '', /etcd:\/coreos\.com\/network\/config, waiting for it/)
    await world.tell(good)
    assert.deepEqual(world.codes(), [])
    assert.equal(world.inUse()?.network.backendType, 'vxlan')
    await world.stop()
  })

  const bad: readonly [string, RegExp][] = [
    ['{"Network":"10.5.0.0/16"', /JSON/],
    ['{"Network":"10.5.0.0/16","SubnetLen":"24"}', /^SubnetLen: .*"24"/],
    [
      '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":0}}',
      /^Backend\.VNI: must be an integer from 1 to 16777215, got 0/,
    ],
    ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","MTU":40}}', /^Backend\.MTU: .* got 40$/],
    ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}', /^Backend\.Type: must be one of/],
  ]
  for (const [text, message] of bad) {
    it(`ends the start when the first one is ${text}`, async () => {
      const fault = await (await start(text)).stop()
      assert.ok(fault instanceof ConfigError)
      assert.match(fault.message, message)
    })

    it(`stays when it becomes ${text}`, async () => {
      const world = await start(good, text)
      assert.deepEqual(world.codes(), ['config-invalid'])
      await world.tell(good)
      assert.deepEqual(world.codes(), [])
      assert.equal(await world.stop(), undefined)
    })
  }

  it('names every value that a restart would change, and forgets it when it is changed back', async () => {
    const world = await start(good, '{"Network":"10.5.0.0/16","SubnetLen":25,"Backend":{"Type":"alloc"}}')
    assert.deepEqual(world.codes(), ['config-restart-needed'])
    const text = world.conditions.list()[0]?.text ?? ''
    assert.match(text, /SubnetLen 24 -> 25/)
    assert.match(text, /Backend\.Type vxlan -> alloc/)
    await world.tell(good)
    assert.deepEqual(world.codes(), [])
    await world.stop()
  })

  const config = (fields: object, backend: object = {}) =>
    JSON.stringify({ Network: '10.5.0.0/16', ...fields, Backend: { Type: 'vxlan', ...backend } })

  const taken: readonly [string, string][] = [
    ['Backend.DirectRouting', config({}, { DirectRouting: true })],
    ['Backend.Learning', config({}, { Learning: true })],
    ['Backend.MTU', config({}, { MTU: 1400 })],
    ['Backend.VNI', config({}, { VNI: 2 })],
    ['Backend.Port', config({}, { Port: 4789 })],
    ['Backend.GBP', config({}, { GBP: true, Port: 4789 })],
    ['Backend.Type', '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}'],
    ['EnableNFTables', config({ EnableNFTables: true })],
    ['Network', config({ Network: '10.4.0.0/15' })],
    ['EnableIPv6', config({ EnableIPv6: true, IPv6Network: 'fc00::/48' })],
    ['SubnetMin', config({ SubnetMin: '10.5.8.0' })],
    ['SubnetMax', config({ SubnetMax: '10.5.8.0' })],
  ]
  for (const [key, text] of taken) {
    it(`goes into use at once with another ${key}, and back`, async () => {
      const world = await start(good, text)
      const changed = world.inUse()
      assert.match(world.lines.at(-1) ?? '', new RegExp(`^network configuration changed .*${key} .* -> `))
      await world.tell(good)
      assert.notEqual(world.inUse(), changed)
      assert.deepEqual(world.inUse()?.config, parseConfiguration(good, '').config)
      assert.deepEqual(world.inUse()?.network.families, parseConfiguration(good, '').network.families)
      assert.deepEqual(world.codes(), [])
      await world.stop()
    })
  }

  const named: readonly [string, string][] = [
    ['Backend.Type', config({}, { Type: 'alloc' })],
    ['SubnetMin', config({ SubnetMin: '10.5.8.0' }, { Type: 'alloc' })],
  ]
  for (const [key, text] of named) {
    it(`stays as it is with another ${key}, and says so: ${text}`, async () => {
      const world = await start(good)
      const first = world.inUse()
      await world.tell(text)
      assert.equal(world.inUse(), first)
      assert.match(world.conditions.list()[0]?.text ?? '', new RegExp(`takes effect at the next start: .*${key} `))
      await world.tell(config({}, { DirectRouting: true }))
      assert.deepEqual(world.codes(), [])
      assert.notEqual(world.inUse(), first)
      await world.stop()
    })
  }

  it('is no other one when it is only written in another way', async () => {
    const world = await start(good)
    const first = world.inUse()
    await world.tell(` {"network":"10.5.0.0/16","SubnetLen":24,"Backend":{"type":"VXLAN","VNI":1,"Port":0}} `)
    assert.equal(world.inUse(), first)
    assert.equal(world.lines.length, 1)
    await world.stop()
  })

  it('never shows a secret that has changed', async () => {
    const psk = (value: string) => `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","PSK":"${value}"}}`
    const world = await start(psk('canary-one'), psk('canary-two'))
    assert.doesNotMatch(JSON.stringify(world.conditions.list()), /canary/)
    await world.stop()
  })

  it('stays in use when it is deleted', async () => {
    const world = await start(good, undefined)
    assert.deepEqual(
      world.conditions.list().map(({ code, severity }) => [code, severity]),
      [['config-missing', 'warning']],
    )
    await world.stop()
  })

  describe('that is changed back and forth', () => {
    const a = config({}, { MTU: 1400 })
    const b = config({}, { MTU: 1300 })
    const c = config({}, { MTU: 1200 })
    const mtu = (world: Awaited<ReturnType<typeof start>>) =>
      (world.inUse()?.config as { readonly outerMtu: number } | undefined)?.outerMtu
    const quarrel = async () => {
      const world = await start(a)
      for (const text of [b, a, b, a, b]) {
        await world.clock.advance(1_000)
        await world.tell(text)
      }
      return world
    }

    it('is followed four times and then held, by name', async () => {
      const world = await quarrel()
      assert.deepEqual([mtu(world), world.codes()], [1300, ['config-flips']])
      await world.tell(a)
      assert.deepEqual([mtu(world), world.codes()], [1300, ['config-held', 'config-flips']])
      const [held] = world.conditions.list()
      assert.match(held?.text ?? '', /Backend\.MTU 1300 -> 1400$/)
      assert.match(
        held?.remedy ?? '',
        /who writes etcd:\/coreos\.com\/network\/config: .*ExecStartPre.*flanneld switch/,
      )
      await world.tell(b)
      assert.deepEqual([mtu(world), world.codes()], [1300, ['config-flips']])
      await world.stop()
    })

    it('is used after ten quiet minutes, and not before', async () => {
      const world = await quarrel()
      await world.clock.advance(590_000)
      await world.tell(a)
      await world.clock.advance(599_000)
      assert.equal(mtu(world), 1300)
      await world.clock.advance(1_000)
      assert.deepEqual([mtu(world), world.codes()], [1400, []])
      assert.equal(world.clock.sleeping, 0)
      await world.tell(b)
      assert.equal(mtu(world), 1300)
      await world.stop()
    })

    it('is used at once by order, and all is forgotten then', async () => {
      const world = await quarrel()
      assert.equal(world.watch.useWaiting(), undefined)
      const again = await quarrel()
      await again.tell(a)
      assert.deepEqual(again.watch.useWaiting(), ['Backend.MTU 1300 -> 1400'])
      assert.deepEqual([mtu(again), again.codes()], [1400, []])
      await again.tell(b)
      assert.deepEqual([mtu(again), again.codes()], [1300, []])
      await world.stop()
      await again.stop()
    })

    it('may still become one that nobody had written before', async () => {
      const world = await quarrel()
      await world.tell(a)
      await world.tell(c)
      assert.deepEqual([mtu(world), world.codes()], [1200, ['config-flips']])
      await world.tell(a)
      assert.deepEqual([mtu(world), world.codes()], [1200, ['config-held', 'config-flips']])
      await world.stop()
    })

    it('is not used when it is gone, or cannot be used any more', async () => {
      for (const [text, code] of [
        [undefined, 'config-missing'],
        [a.slice(0, -1), 'config-invalid'],
      ] as const) {
        const world = await quarrel()
        await world.tell(a)
        await world.tell(text)
        assert.deepEqual(world.codes(), [code, 'config-flips'])
        await world.clock.advance(600_000)
        assert.deepEqual([mtu(world), world.codes()], [1300, [code]])
        await world.tell(a)
        assert.equal(mtu(world), 1400)
        await world.stop()
      }
    })

    it('is no quarrel where half of a value, or the same value in other words, came in between', async () => {
      const world = await start(a)
      for (let n = 0; n < 6; n += 1) {
        await world.tell(a.slice(0, 20 + n))
        await world.tell(undefined)
        await world.tell(`${a}${' '.repeat(n)}`)
      }
      assert.deepEqual([mtu(world), world.codes()], [1400, []])
      await world.stop()
    })
  })
})
