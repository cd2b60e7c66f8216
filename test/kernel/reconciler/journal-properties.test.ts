import assert from 'node:assert/strict'
import fc from 'fast-check'
import { DiskWrites } from '../../../flanneld/state/disk-writes.ts'
import { parseScope, parseSysctls } from '../../../flanneld/state/journal-files.ts'
import { StateDir } from '../../../flanneld/state/state-dir.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import type { DesiredState } from '../../../kernel/desired.ts'
import type { JournalEntry } from '../../../kernel/kinds/kind.ts'
import { type DesiredObject, keyOf } from '../../../kernel/objects.ts'
import { entriesOf, keyOfEntry, NO_ENTRIES, scopeOf } from '../../../kernel/reconciler/journal.ts'
import { Reconciler } from '../../../kernel/reconciler/reconciler.ts'
import { silentLogger } from '../../../lib/log.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import { FakeKernel } from '../../fakes/kernel.ts'
import { repeat } from '../../long.ts'
import { SimulatedDisk } from '../../simulation/disk.ts'
import { SimulatedProcess } from '../../simulation/process.ts'
import * as the from '../fixtures.ts'

const US = 'us'
const RP_FILTER = 'net/ipv4/conf/eth0/rp_filter'
const LOOSE: DesiredObject = {
  ...the.sysctl(RP_FILTER, '2'),
  kind: 'sysctl',
  borrowed: true,
  role: { class: 'advisory', remedy: '' },
}

interface Config {
  readonly vni: 1 | 2
  readonly fou: boolean
  readonly loose: boolean
  readonly network: string
}

interface Step {
  readonly config: Config
  readonly waitMs: number
  readonly diskFull: boolean
  /** The process dies at this call of kernel or disk from now, before or after it is done. */
  readonly death: { readonly at: number; readonly isAnswerLost: boolean } | null
  /** The kernel refuses this call from now, or says so. */
  readonly fault: { readonly at: number; readonly done: boolean } | null
}

const config: fc.Arbitrary<Config> = fc.record({
  vni: fc.constantFrom(1, 2),
  fou: fc.boolean(),
  loose: fc.boolean(),
  network: fc.constantFrom('10.64.0.0/16', '10.65.0.0/16'),
})
const callNumber = fc.integer({ min: 1, max: 25 })
const steps = (diskFull: fc.Arbitrary<boolean>): fc.Arbitrary<readonly Step[]> =>
  fc.array(
    fc.record({
      config,
      waitMs: fc.constantFrom(0, 20, 1_500, 40_000),
      diskFull,
      death: fc.option(fc.record({ at: callNumber, isAnswerLost: fc.boolean() })),
      fault: fc.option(fc.record({ at: callNumber, done: fc.boolean() })),
    }),
    { minLength: 1, maxLength: 8 },
  )

function desiredWith({ vni, fou, loose, network }: Config): DesiredState {
  const device = `flannel.${vni}`
  const dst = network.replace('0.0/16', '7.0/24')
  return the.desiredOf(
    [
      the.required(the.vxlan(device, {}, { vni, port: 8471 + vni })),
      the.required(the.route(dst, { device: 'eth0', via: the.ip('192.0.2.9') })),
      ...(fou ? [the.required(the.fouPort(8285))] : []),
      ...(loose ? [LOOSE] : []),
    ],
    { scope: { devices: new Set([device]), networks: [{ network: the.cidr(network), subnetLen: 24 }] } },
  )
}

/** A host whose daemon may die at any call, on a disk that may be full. */
class Host {
  readonly clock = new VirtualClock()
  readonly kernel = new FakeKernel()
  readonly disk = new SimulatedDisk()
  /** Devices and ports whose entry died with the process, because the disk was full. */
  readonly orphans = new Set<string>()
  #process: SimulatedProcess | undefined
  #reconciler: Reconciler | undefined
  #conditions: ConditionSet | undefined

  constructor() {
    this.kernel.addDevice('eth0')
    this.kernel.change({ verb: 'create', object: the.address('192.0.2.1/16', 'eth0') })
    this.kernel.put(the.sysctl(RP_FILTER, '1'))
    this.kernel.makers.mayChange = ({ kind }) => kind === 'sysctl'
  }

  get onDisk(): readonly JournalEntry[] {
    const footprint = this.disk.text('footprint.json')
    const sysctls = this.disk.text('sysctls.json')
    return [
      ...entriesOf(footprint === undefined ? scopeOf(NO_ENTRIES) : parseScope(footprint)),
      ...(sysctls === undefined ? [] : parseSysctls(sysctls)),
    ]
  }

  /** What is there of ours that bears no mark, and a changed sysctl, as entries. */
  get present(): readonly JournalEntry[] {
    const { kernel } = this
    const links = kernel.all('link').filter((link) => kernel.makers.of(link) === US)
    const ports = kernel.all('fou-port').filter((port) => kernel.makers.of(port) === US)
    const sysctl = kernel.get(keyOf(LOOSE))
    return [
      ...links.flatMap((link) => (link.kind === 'link' ? [{ kind: 'device', name: link.name } as const] : [])),
      ...ports.flatMap((port) => (port.kind === 'fou-port' ? [{ kind: 'fou-port', port: port.port } as const] : [])),
      ...(sysctl?.kind === 'sysctl' && sysctl.value !== '1'
        ? [{ kind: 'sysctl', path: RP_FILTER, value: '1' } as const]
        : []),
    ]
  }

  async live(step: Step): Promise<void> {
    this.disk.full = step.diskFull
    const process = this.#process ?? (await this.#start())
    process.killAt(step.death?.at ?? Number.POSITIVE_INFINITY, step.death?.isAnswerLost ?? false)
    let calls = 0
    this.kernel.fault = () => {
      calls += 1
      this.assertCovered()
      return calls === step.fault?.at ? { code: 'EBUSY', done: step.fault.done } : undefined
    }
    this.#reconciler?.setDesired(desiredWith(step.config))
    await this.clock.advance(step.waitMs)
    this.assertCovered()
  }

  async rest(config: Config): Promise<void> {
    await this.live({ config, waitMs: 90_000, diskFull: false, death: null, fault: null })
  }

  async stop(): Promise<void> {
    if (this.#process?.alive) await this.#reconciler?.stop()
  }

  /** At any moment: no object without an entry, a full disk apart, and no changed sysctl without one at all. */
  assertCovered(): void {
    const written = new Set(this.onDisk.map((entry) => JSON.stringify(entry)))
    for (const entry of this.present) {
      if (written.has(JSON.stringify(entry)) || this.orphans.has(keyOfEntry(entry))) continue
      assert.notEqual(entry.kind, 'sysctl', 'a sysctl is changed and its value is not on disk')
      assert.ok(this.#isPending(), `${keyOfEntry(entry)} is there and not on disk`)
    }
  }

  #isPending(): boolean {
    return this.disk.full || this.#conditions?.list().some(({ code }) => code.endsWith('footprint.json')) === true
  }

  async #start(): Promise<SimulatedProcess> {
    const { clock } = this
    const conditions = new ConditionSet({ clock })
    const end = new AbortController()
    const process = new SimulatedProcess({ clock, onDeath: () => this.#died(end) })
    const writes = new DiskWrites({ conditions, clock, isStarting: () => false })
    const randomBytes = (count: number) => new Uint8Array(count)
    const openFiles = async (path: string) => this.disk.portOf(process, path)
    const { journal } = await StateDir.open({ log: silentLogger, writes, randomBytes, uid: 0, openFiles }, '/state')
    const tables = process.tables(this.kernel.tablesOf(US), () => 0)
    const reconciler = new Reconciler({ tables, clock, log: silentLogger, journal })
    void writes.run(end.signal)
    void (async () => {
      for await (const _ of writes.changes.watch(end.signal)) reconciler.invalidate(['sysctl'], 'the disk takes it')
    })()
    this.kernel.onEvents = (events) => reconciler.onEvents(events)
    this.#conditions = conditions
    this.#process = process
    this.#reconciler = reconciler
    return process
  }

  #died(end: AbortController): void {
    const written = new Set(this.onDisk.map(keyOfEntry))
    for (const entry of this.present) if (!written.has(keyOfEntry(entry))) this.orphans.add(keyOfEntry(entry))
    this.kernel.onEvents = undefined
    this.#process = undefined
    this.#reconciler = undefined
    this.#conditions = undefined
    end.abort()
  }
}

async function assertHistory(history: readonly Step[], last: Config): Promise<void> {
  const host = new Host()
  try {
    for (const step of history) await host.live(step)
    await host.rest(last)
    const wanted = desiredWith(last).objects
    // Once it is wanted again it is ours again.
    const orphans = [...host.orphans].filter((key) => !wanted.has(key.replace('device', 'link')))
    const expected = [
      ...host.present.filter((entry) => !orphans.includes(keyOfEntry(entry))),
      ...entriesOf({ ...desiredWith(last).scope, devices: new Set() }),
    ]
    const texts = (entries: readonly JournalEntry[]) => entries.map((entry) => JSON.stringify(entry)).sort()
    assert.deepEqual(texts(host.onDisk), texts(expected), 'at rest the journal is what exists')
    const sysctl = host.kernel.get(keyOf(LOOSE))
    assert.equal(sysctl?.kind === 'sysctl' && sysctl.value, last.loose ? '2' : '1')
    assert.deepEqual(host.kernel.makers.offences, [])
    const devices = host.kernel.all('link').flatMap((link) => (link.kind === 'link' ? link.name : []))
    const left = devices.filter((name) => name !== 'eth0' && !orphans.includes(`device ${name}`))
    assert.deepEqual(left, [`flannel.${last.vni}`])
  } finally {
    await host.stop()
  }
}

describe('the journal', function () {
  this.timeout(60_000)

  it('is never short of an object, and at rest is what exists, wherever the process dies', async () => {
    await fc.assert(fc.asyncProperty(steps(fc.constant(false)), config, assertHistory), { numRuns: repeat(30, 5_000) })
  })

  it('is short of what was made while the disk was full only, and of no changed sysctl', async () => {
    await fc.assert(fc.asyncProperty(steps(fc.boolean()), config, assertHistory), { numRuns: repeat(30, 5_000) })
  })
})
