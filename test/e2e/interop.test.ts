import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { LabOptions } from '../../lab/lab.ts'
import { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { everyPairReaches, formatReach, measureReach } from '../../lab/reach-table.ts'
import { needs, peerProgram } from '../needs.ts'
import { knowsPeers, leasePrefix, logsInFailure, oneSegment, startDaemon, twoSegments, until } from './world.ts'

/** Fault row 6: flannel's own daemon and ours in one cluster, and one in the place of the other. */
interface Case {
  readonly title: string
  readonly segments: LabOptions['segments']
  readonly backend: Record<string, unknown>
  /** Device of h1's routes to h2 and to h3. */
  readonly devices: readonly [string, string]
}

const cases: readonly Case[] = [
  { title: 'vxlan', segments: twoSegments, backend: { Type: 'vxlan' }, devices: ['flannel.1', 'flannel.1'] },
  {
    title: 'vxlan with DirectRouting',
    segments: twoSegments,
    backend: { Type: 'vxlan', DirectRouting: true },
    devices: ['eth0', 'flannel.1'],
  },
  { title: 'host-gw', segments: oneSegment(3), backend: { Type: 'host-gw' }, devices: ['eth0', 'eth0'] },
]

describe("beside flannel's daemon", function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(180_000)
  let lab: Lab
  let judges: PingJudge[] = []

  afterEach(async function () {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    judges = []
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  for (const { title, segments, backend, devices } of cases) {
    it(`${title}: all reach each other, and either takes the other's place without a packet lost`, async () => {
      // As on Red Hat's hosts: a packet that comes by another way than ours goes is lost.
      lab = await Lab.create({ segments, rpFilter: 1, netConf: { Network: '10.5.0.0/16', Backend: backend } })
      const [h1, h2, h3] = [lab.host('h1'), lab.host('h2'), lab.host('h3')]
      const flannel = { program: peerProgram('peer:flanneld') }
      await Promise.all([startDaemon(h1, flannel), startDaemon(h2), startDaemon(h3)])
      for (const host of lab.hosts) {
        await host.subnetEnv()
        await host.addContainer('c1')
      }
      const allReach = async () => {
        const table = await measureReach(lab.hosts)
        assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
        assert.deepEqual([await deviceTo(h1, h2), await deviceTo(h1, h3)], devices)
        assert.deepEqual([await deviceTo(h2, h1), await deviceTo(h3, h1)], devices)
      }
      await knowsPeers(h2, 2)
      await knowsPeers(h3, 2)
      await until(20_000, 'the mixed cluster is connected', allReach)

      const before = await identityOf(h1)
      const pairs = [
        [h1, h2],
        [h2, h1],
        [h1, h3],
        [h3, h1],
        [h2, h3],
      ] as const
      judges = pairs.map(([from, to]) => from.container('c1').startPing(to.container('c1').address, 20))
      await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))

      // Ours in the place of flannel's.
      await h1.daemon?.stop()
      await startDaemon(h1)
      await knowsPeers(h1, 2)
      await nothingLost(judges, "ours in flannel's place")
      assert.deepEqual(await identityOf(h1), before)
      await until(5_000, 'ours has the routes', async () => {
        const protocols = (await h1.ipJson('route', 'show', 'root', '10.5.0.0/16')).filter(({ gateway }) => gateway)
        assert.deepEqual(
          protocols.map(({ protocol }) => protocol),
          ['102', '102'],
        )
      })

      // And flannel's in the place of ours, on a host that it has not seen before, too.
      for (const host of [h1, h2]) {
        const identity = await identityOf(host)
        await host.daemon?.stop()
        await startFlannel(host, flannel)
        await nothingLost(judges, `flannel's in the place of ours on ${host.label}`)
        assert.deepEqual(await identityOf(host), identity)
      }
      await knowsPeers(h3, 2)
      await allReach()
    })
  }

  /** Until flannel has said that it follows the leases. */
  async function startFlannel(host: Host, flannel: { program: string }): Promise<void> {
    const before = ((await host.daemon?.logText()) ?? '').length
    await startDaemon(host, flannel)
    await until(10_000, "flannel's runs", async () => {
      assert.match(((await host.daemon?.logText()) ?? '').slice(before), /Waiting for .* to renew lease/)
    })
  }

  /** Looks once fifty packets more have gone each way: what has been done has had its effect then. */
  async function nothingLost(streams: readonly PingJudge[], what: string): Promise<void> {
    const sent = streams.map((judge) => judge.verdict().sent)
    await until(20_000, 'more packets', async () => {
      for (const [n, judge] of streams.entries()) {
        assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 50, `none answered, ${judge.address}`)
      }
    })
    const lost = streams.map((judge) => judge.verdict().lost)
    assert.deepEqual(
      lost,
      streams.map(() => 0),
      what,
    )
  }

  /** What the others and the containers know a host by. */
  async function identityOf(host: Host): Promise<Record<string, unknown>> {
    const { families, mtu } = await host.subnetEnv()
    const [link] = await host.ipJson('link', 'show', 'type', 'vxlan')
    const keys = (await lab.etcd.list(leasePrefix)).filter(({ value }) => JSON.parse(value).PublicIP === host.address)
    return { families, mtu, mac: link?.address, index: link?.ifindex, keys: keys.map(({ key }) => key) }
  }
})

async function deviceTo(from: Host, to: Host): Promise<string> {
  const [route] = await from.ipJson('route', 'get', to.container('c1').address)
  return route.dev
}
