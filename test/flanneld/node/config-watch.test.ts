import assert from 'node:assert/strict'
import { ConfigWatch } from '../../../flanneld/node/config-watch.ts'
import { parseConfiguration } from '../../../flanneld/node/configuration.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import { ConfigError } from '../../../lib/errors.ts'
import { Latest } from '../../../lib/latest.ts'
import { createLogger } from '../../../lib/log.ts'
import type { ConfigText } from '../../../subnet/types.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'

const good = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'

async function start(...texts: readonly (string | undefined)[]) {
  const source = new Latest<ConfigText>('config')
  const conditions = new ConditionSet({ clock: new VirtualClock() })
  const lines: string[] = []
  const log = createLogger((_severity, message, fields) => void lines.push(`${message} ${JSON.stringify(fields)}`))
  const watch = new ConfigWatch({ source, conditions, log })
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
  return { inUse, tell, stop, codes, conditions, lines }
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
    const world = await start(good, '{"Network":"10.5.0.0/16","SubnetLen":25,"Backend":{"Type":"vxlan","VNI":7}}')
    assert.deepEqual(world.codes(), ['config-restart-needed'])
    const text = world.conditions.list()[0]?.text ?? ''
    assert.match(text, /SubnetLen 24 -> 25/)
    assert.match(text, /Backend\.VNI absent -> 7/)
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
    ['Backend.VNI', config({}, { VNI: 1 })],
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
    ['Network', config({ Network: '10.6.0.0/16' })],
    ['SubnetLen', config({ SubnetLen: 25 })],
    ['IPv6Network', config({ EnableIPv6: true, IPv6Network: 'fc00::/48' })],
    ['Backend.Type', config({}, { Type: 'host-gw' })],
    ['EnableNFTables', config({ EnableNFTables: true })],
    ['Backend.VNI', config({}, { VNI: 2 })],
    ['Backend.Port', config({}, { Port: 4789 })],
    ['Backend.GBP', config({}, { GBP: true })],
    ['Backend.Port', config({ SubnetMin: '10.5.8.0' }, { Port: 4789 })],
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
})
