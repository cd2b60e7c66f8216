import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { needs } from '../needs.ts'
import {
  bringUp,
  countInLog,
  knowsPeers,
  leaseOf,
  leasePrefix,
  logsInFailure,
  oneSegment,
  startDaemon,
  status,
  until,
  vxlan,
  whileFrozen,
} from './world.ts'

describe('a change of the configuration', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let h1: Host
  let h2: Host
  let judges: readonly PingJudge[] = []

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(3), rpFilter: 1, netConf: vxlan })
    ;[h1, h2] = [lab.host('h1'), lab.host('h2')]
    await bringUp([h1, h2])
    for (const host of [h1, h2]) await knowsPeers(host, 1)
    judges = [h1.container('c1').startPing(h2.container('c1').address, 10)]
    await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    await lab?.close()
  })

  const configured = (fields: object, backend: object) =>
    lab.configure({ ...vxlan, ...fields, Backend: { ...vxlan.Backend, ...backend } })

  const goesBy = async (device: string) => {
    for (const [from, to] of [
      [h1, h2],
      [h2, h1],
    ] as const) {
      await until(10_000, `${from.label} sends by ${device}`, async () => {
        const [route] = await from.ipJson('route', 'get', to.container('c1').address)
        assert.equal(route.dev, device)
      })
    }
  }

  const nothingLost = async () => {
    await morePackets()
    for (const judge of judges) assert.equal(judge.verdict().lost, 0)
  }

  const morePackets = async () => {
    const sent = judges.map((judge) => judge.verdict().sent)
    await until(10_000, 'more packets', async () => {
      for (const [n, judge] of judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 25)
    })
  }

  const strictness = async (host: Host) =>
    (await host.exec(['cat', '/proc/sys/net/ipv4/conf/eth0/rp_filter'])).stdout.trim()

  const codes = async (host: Host): Promise<readonly string[]> =>
    (await status(host)).conditions
      .filter(({ severity }: { severity: string }) => severity !== 'info')
      .map(({ code }: { code: string }) => code)

  it('goes into use at once where the way stays the same, and loses no packet', async () => {
    const pids = [h1, h2].map((host) => host.daemon?.pid)
    const leases = [await leaseOf(lab, h1), await leaseOf(lab, h2)]
    await configured({}, { MTU: 1400 })
    await until(5_000, 'the device is smaller', async () => {
      const [link] = await h1.ipJson('link', 'show', 'dev', 'flannel.1')
      assert.equal(link.mtu, 1350)
      assert.match((await h1.subnetEnv()).text, /FLANNEL_MTU=1350/)
    })
    await configured({ SubnetMin: '10.5.200.0', SubnetMax: '10.5.201.0' }, {})
    await until(5_000, 'it is as large as before', async () => {
      assert.match((await h1.subnetEnv()).text, /FLANNEL_MTU=1450/)
    })
    // Who has a subnet keeps it, who is new gets one of the new range.
    const h3 = lab.host('h3')
    await startDaemon(h3)
    for (const host of [h1, h2, h3]) await knowsPeers(host, 2)
    assert.match((await leaseOf(lab, h3)).key, new RegExp(`^${leasePrefix}10\\.5\\.20[01]\\.0-24$`))
    assert.deepEqual(
      [await leaseOf(lab, h1), await leaseOf(lab, h2)].map(({ key }) => key),
      leases.map(({ key }) => key),
    )
    await nothingLost()
    assert.deepEqual(
      [h1, h2].map((host) => host.daemon?.pid),
      pids,
    )
    assert.equal(await countInLog(h1, /network configuration changed .*Backend\.MTU 0 -> 1400/), 1)
    assert.equal(await countInLog(h1, /flanneld started/), 1)
  })

  it('that turns direct paths on or off loses no packet where one hears of it later, or is restarted meanwhile', async () => {
    for (const [directRouting, device] of [
      [true, 'eth0'],
      [false, 'flannel.1'],
    ] as const) {
      const heard = await countInLog(h1, /network configuration changed/)
      // The other one hears of it a second later: as long as it is strict it would drop what comes directly.
      await whileFrozen(h2, async () => {
        await configured({}, { DirectRouting: directRouting })
        await until(5_000, 'h1 has heard', async () =>
          assert.equal(await countInLog(h1, /network configuration changed/), heard + 1),
        )
        for (let round = 0; round < 3; round += 1) await morePackets()
      })
      await goesBy(device)
      await until(10_000, 'the uplinks are as strict as they shall be', async () => {
        for (const host of [h1, h2]) assert.equal(await strictness(host), directRouting ? '2' : '1')
      })
      await nothingLost()
      for (const host of [h1, h2]) assert.deepEqual(await codes(host), [])
    }
    await h1.daemon?.stop()
    await whileFrozen(h2, async () => {
      await configured({}, { DirectRouting: true, MTU: 1400 })
      await startDaemon(h1)
      await until(10_000, 'h1 takes what comes directly', async () => assert.equal(await strictness(h1), '2'))
      await morePackets()
    })
    await goesBy('eth0')
    await configured({}, { MTU: 1400 })
    await goesBy('flannel.1')
    await nothingLost()
  })

  it('that cannot be used, or needs another way, leaves the last good one in use and is named', async () => {
    await configured({}, { DirectRouting: true })
    await goesBy('eth0')
    await configured({}, { DirectRouting: 'no' })
    await until(5_000, 'the fault is named', async () => assert.deepEqual(await codes(h1), ['config-invalid']))
    await configured({}, { Type: 'alloc' })
    await until(5_000, 'the restart is asked for', async () =>
      assert.deepEqual(await codes(h1), ['config-restart-needed']),
    )
    await goesBy('eth0')
    await configured({}, { DirectRouting: false })
    await goesBy('flannel.1')
    assert.deepEqual(await codes(h1), [])
    await nothingLost()
  })
})
