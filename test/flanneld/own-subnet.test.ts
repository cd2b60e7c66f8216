import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LeaseState } from '../../flanneld/leases/lease-keeper.ts'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { forgetLastSubnets, keepLastSubnets, lastRun } from '../../flanneld/state/own-subnet.ts'
import { PrivateFiles } from '../../flanneld/state/private-files.ts'
import { StateFiles } from '../../flanneld/state/state-files.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { Latest } from '../../lib/latest.ts'
import { createLogger } from '../../lib/log.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'
import { lease, networkOf } from '../subnet/leases.ts'
import { until } from '../until.ts'

const dual = networkOf({ Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fc00::/48' })
const held = (subnets: string): LeaseState => ({
  at: 'held',
  own: { lease: lease(subnets), version: '1', expiresAt: undefined },
})

describe('the record of the own subnet', () => {
  let parent: string
  let files: StateFiles
  const warnings: string[] = []
  const log = createLogger((severity, message) => {
    if (severity === 'warn') warnings.push(message)
  })
  const clock = new VirtualClock()

  beforeEach(async () => {
    parent = mkdtempSync(join(tmpdir(), 'own-subnet-'))
    const writes = new DiskWrites({ conditions: new ConditionSet({ clock }), clock, isStarting: () => false })
    const own = await PrivateFiles.open(join(parent, 'state'), process.getuid?.() ?? 0)
    files = new StateFiles({ files: own, writes, log })
    warnings.length = 0
  })
  afterEach(() => rmSync(parent, { recursive: true }))

  async function keep(subnets: string): Promise<void> {
    const stop = new AbortController()
    const state = new Latest<LeaseState>('own lease')
    const keeping = keepLastSubnets({ files, bootId: 'this' }, () => dual, state, stop.signal)
    state.set({ at: 'acquiring' })
    await settleTasks()
    state.set(held(subnets))
    await until(2_000, 'it is written', async () =>
      assert.match(readFileSync(join(files.path, 'own-subnet.json'), 'utf8'), new RegExp(subnets.split(' ')[0] ?? '')),
    )
    stop.abort()
    await keeping
  }
  const run = async (inSubnetFile: string, bootId = 'this') =>
    await lastRun({ files, log, bootId }, dual, new Map([[4 as Family, inSubnetFile as Cidr]]))
  const last = async (network = dual) => [
    ...(await lastRun({ files, log, bootId: 'this' }, network, new Map())).previous,
  ]

  it('is empty at first', async () => {
    assert.deepEqual(await last(), [])
    assert.deepEqual(warnings, [])
  })

  it('gives back the newest lease, each family in its network', async () => {
    await keep('10.5.3.0/24 fc00:0:0:3::/64')
    await keep('10.5.4.0/24 fc00:0:0:4::/64')
    assert.deepEqual(await last(), [
      [4, '10.5.4.0/24'],
      [6, 'fc00:0:0:4::/64'],
    ])
    assert.deepEqual(await last(networkOf({ Network: '10.5.0.0/16' })), [[4, '10.5.4.0/24']])
    assert.deepEqual(await last(networkOf({ Network: '10.5.0.0/17' })), [])
  })

  it('and subnet.env together tell what this host has used since it was booted', async () => {
    await keep('10.5.3.0/24 fc00:0:0:3::/64')
    const used = async (...args: Parameters<typeof run>) => [...(await run(...args)).sinceBoot]
    assert.deepEqual(await used('10.5.3.0/24'), [[4, '10.5.3.0/24']])
    assert.deepEqual(await used('10.5.4.0/24'), [])
    assert.deepEqual(await used('10.5.3.0/24', 'another'), [])
    assert.deepEqual(await used('10.5.3.0/24', ''), [])
    assert.deepEqual((await run('10.5.4.0/24', 'another')).previous.get(4), '10.5.3.0/24')
  })

  it('knows no boot of a subnet that another process has taken', async () => {
    const stop = new AbortController()
    const state = new Latest<LeaseState>('own lease')
    const keeping = keepLastSubnets({ files, bootId: 'this' }, () => dual, state, stop.signal)
    const conflict = { type: 'identity-shared', id: '10.5.3.0-24', publicIp: '192.168.64.11' as IpAddr } as const
    const own = { lease: lease('10.5.3.0/24'), version: '1', expiresAt: undefined }
    state.set({ at: 'lost', last: own, conflict, text: 'taken' })
    await until(2_000, 'it is written', async () => assert.deepEqual(await last(), [[4, '10.5.3.0/24']]))
    stop.abort()
    await keeping
    assert.deepEqual([...(await run('10.5.3.0/24')).sinceBoot], [])
  })

  it('is forgotten by a clean-up', async () => {
    await keep('10.5.3.0/24')
    await forgetLastSubnets(files)
    assert.deepEqual(await last(), [])
  })

  for (const text of ['', '{', '{}', '[1]', '[{"network":"10.5.0.0/16","subnet":"10.6.0.0/24"}]', '[{"network":4}]']) {
    it(`is not believed when it says ${JSON.stringify(text)}`, async () => {
      writeFileSync(join(files.path, 'own-subnet.json'), text, { mode: 0o600 })
      assert.deepEqual(await last(), [])
      assert.equal(warnings.length, 1)
    })
  }

  it('is written once for one subnet, also where the disk refuses it: what keeps it tries again', async () => {
    const stop = new AbortController()
    const state = new Latest<LeaseState>('own lease')
    const texts: string[] = []
    const disk = {
      keep: async (name: string, text: string) => {
        texts.push(`${name} ${text.trim()}`)
        return false
      },
    }
    const keeping = keepLastSubnets({ files: disk, bootId: 'this' }, () => dual, state, stop.signal)
    for (const subnet of ['10.5.3.0/24', '10.5.3.0/24', '10.5.4.0/24']) {
      state.set(held(subnet))
      await settleTasks()
    }
    stop.abort()
    await keeping
    assert.deepEqual(
      texts,
      ['3', '4'].map((n) => `own-subnet.json [{"network":"10.5.0.0/16","subnet":"10.5.${n}.0/24","boot":"this"}]`),
    )
  })
})
