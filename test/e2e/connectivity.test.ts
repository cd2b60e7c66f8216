import assert from 'node:assert/strict'
import type { LabOptions } from '../../lab/lab.ts'
import { Lab } from '../../lab/lab.ts'
import { everyPairReaches, formatReach, measureReach } from '../../lab/reach-table.ts'
import { needs } from '../needs.ts'
import { transfer } from './transfer.ts'
import {
  bringUp,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  oneSegment,
  overlayOf,
  startDaemon,
  status,
  twoSegments,
  until,
} from './world.ts'

interface Case {
  readonly title: string
  readonly segments: LabOptions['segments']
  readonly backend: Record<string, unknown>
  readonly mtu: number
  /** Device of h1's route to h2 and to h3. */
  readonly devices: readonly [string, string]
}

const cases: readonly Case[] = [
  { title: 'vxlan', segments: twoSegments, backend: { Type: 'vxlan' }, mtu: 1450, devices: ['flannel.1', 'flannel.1'] },
  {
    title: 'vxlan with another VNI, port, GBP and MTU',
    segments: twoSegments,
    backend: { Type: 'vxlan', VNI: 77, Port: 4789, GBP: true, MTU: 1400 },
    mtu: 1350,
    devices: ['flannel.77', 'flannel.77'],
  },
  {
    title: 'vxlan with DirectRouting',
    segments: twoSegments,
    backend: { Type: 'vxlan', DirectRouting: true },
    mtu: 1450,
    devices: ['eth0', 'flannel.1'],
  },
  { title: 'host-gw', segments: oneSegment(3), backend: { Type: 'host-gw' }, mtu: 1500, devices: ['eth0', 'eth0'] },
]

describe('three hosts', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab | undefined

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  for (const { title, segments, backend, mtu, devices } of cases) {
    it(`${title} connects all pairs, full-size packets and streams included`, async () => {
      // As on Red Hat's hosts: with 0 a wrong path would pass unseen.
      lab = await Lab.create({ segments, rpFilter: 1, netConf: { Network: '10.5.0.0/16', Backend: backend } })
      await bringUp(lab.hosts)
      for (const host of lab.hosts) await knowsPeers(host, 2)
      const [h1, h2, h3] = [lab.host('h1'), lab.host('h2'), lab.host('h3')]
      await until(15_000, 'the routes lead where they should', async () => {
        assert.deepEqual([await deviceTo(h1, h2), await deviceTo(h1, h3)], devices)
        assert.equal(await deviceTo(h2, h1), devices[0])
      })
      const table = await measureReach(lab.hosts)
      assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))

      for (const host of lab.hosts) assert.equal((await host.subnetEnv()).mtu, mtu)
      for (const [from, to] of [
        [h1, h2],
        [h1, h3],
        [h3, h1],
      ] as const) {
        const path = `${from.label} -> ${to.label}`
        const [source, target] = [from.container('c1'), to.container('c1')]
        const full = await source.ping(target.address, { count: 2, size: mtu - 28, df: true })
        assert.equal(full.received, 2, `${path} DF ${mtu}`)
        const larger = await source.ping(target.address, { count: 1, size: mtu - 27, df: true, wait: 300 })
        assert.equal(larger.received, 0, `${path} DF ${mtu + 1}`)
        assert.equal(await transfer(source, target, 20), 20 * 2 ** 20, `${path} TCP`)
      }
      assert.equal((await status(h1)).state, 'ok')
    })
  }

  it('alloc leases a subnet and touches nothing', async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: { Network: '10.5.0.0/16', Backend: { Type: 'alloc' } } })
    await Promise.all(lab.hosts.map((host) => startDaemon(host)))
    for (const host of lab.hosts) {
      await knowsPeers(host, 1)
      const env = await host.subnetEnv()
      assert.equal(env.mtu, 1500)
      assert.deepEqual(await overlayOf(host), [])
      const key = `${leasePrefix}${env.families[0]?.subnet.replace('/', '-')}`
      const { NodeID: _node, ...value } = JSON.parse((await lab.etcd.get(key))?.value ?? '')
      assert.deepEqual(value, { PublicIP: host.address, PublicIPv6: null })
    }
  })
})

async function deviceTo(from: Lab['hosts'][number], to: Lab['hosts'][number]): Promise<string> {
  const [route] = await from.ipJson('route', 'get', to.container('c1').address)
  return route.dev
}
