import assert from 'node:assert/strict'
import { nexthopId } from '../../kernel/kinds/nexthop/kind.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { repeat } from '../long.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  bringUp,
  flanneld,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  networkOf,
  oneSegment,
  overlayOf,
  ready,
  startDaemon,
  status,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

describe('restart', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    await lab.etcd.putAll([1, 2, 3].map((n) => strangerLease(n)))
    await bringUp(lab.hosts)
    host = lab.host('h1')
    for (const each of lab.hosts) await knowsPeers(each, 4)
  })

  // Where the test before has failed, its daemon may be gone, and its peers not be those of the next one.
  beforeEach(async () => {
    if (host.daemon?.running !== true) await startDaemon(host)
    await knowsPeers(host, 4, 20_000)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  /** A stream of packets each way while `work` runs; none may be lost. */
  const underTraffic = async (work: () => Promise<void>) => {
    const other = lab.host('h2').container('c1')
    const own = host.container('c1')
    const judges = [own.startPing(other.address, 10), other.startPing(own.address, 10)]
    try {
      await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))
      await work()
    } finally {
      await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    }
    for (const judge of judges) {
      const { sent, lost } = judge.verdict()
      assert.ok(sent > 20, `only ${sent} packets were sent`)
      assert.equal(lost, 0, `${lost} of ${sent} packets lost`)
    }
  }
  const ownLease = async () => {
    const leases = await lab.etcd.list(leasePrefix)
    const own = leases.filter(({ value }) => JSON.parse(value).PublicIP === host.address)
    assert.equal(own.length, 1)
    return own[0]
  }
  const indexOf = async (device: string) => (await host.ipJson('link', 'show', device))[0].ifindex

  it(`loses no packet when killed ${repeat(10, 100)} times, and rebuilds nothing (row 1)`, async function () {
    this.timeout(repeat(180_000, 900_000))
    const before = { network: await networkOf(host), index: await indexOf('flannel.1'), lease: await ownLease() }
    await underTraffic(async () => {
      for (let kills = 0; kills < repeat(10, 100); kills += 1) {
        host.daemon?.kill('SIGKILL')
        await host.daemon?.waitExit()
        await startDaemon(host)
        await knowsPeers(host, 4)
        const { counters } = await status(host)
        assert.deepEqual([counters.driftRepaired, counters.adopted], [{}, {}], `after kill ${kills + 1}`)
      }
    })
    assertSame(await networkOf(host), before.network)
    assert.equal(await indexOf('flannel.1'), before.index)
    const after = await ownLease()
    assert.deepEqual([after?.key, after?.value], [before.lease?.key, before.lease?.value])
  })

  it('ends at SIGTERM and SIGINT with 0 within five seconds; the kernel keeps all, traffic goes on (row 3)', async () => {
    const before = await networkOf(host)
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      await underTraffic(async () => {
        host.daemon?.kill(signal)
        assert.deepEqual(await host.daemon?.waitExit({ timeout: 5_000 }), { code: 0, signal: null })
        assertSame(await networkOf(host), before)
        assert.match((await host.subnetEnv()).text, /FLANNEL_SUBNET/)
        await startDaemon(host)
        await knowsPeers(host, 4)
      })
    }
    assertSame(await networkOf(host), before)
  })

  it('ends at once at the second signal (row 3)', async () => {
    // A frozen store makes an orderly end slow.
    await lab.etcd.freeze()
    try {
      host.daemon?.kill('SIGTERM')
      host.daemon?.kill('SIGINT')
      await until(1_500, 'the end', async () => assert.notEqual(host.daemon?.exit, undefined))
      assert.equal(host.daemon?.exit?.code, 0)
    } finally {
      lab.etcd.thaw()
    }
    await startDaemon(host)
    await knowsPeers(host, 4)
  })

  it('reads the configuration again at SIGHUP and goes on (row 3)', async () => {
    const log = async () => (await host.daemon?.logText()) ?? ''
    const before = (await log()).length
    host.daemon?.kill('SIGHUP')
    await until(2_000, 'the signal is logged', async () => assert.match((await log()).slice(before), /SIGHUP/))
    assert.equal((await status(host)).state, 'ok')
    assert.equal(host.daemon?.running, true)
  })

  it('refuses a second daemon with 75 and names the first, which goes on (row 5)', async () => {
    const before = await networkOf(host)
    const second = await flanneld(host, [])
    assert.equal(second.code, 75)
    assert.match(second.stderr, new RegExp(`pid ${host.daemon?.pid}\\b`))
    assert.equal((await status(host)).pid, host.daemon?.pid)
    assertSame(await networkOf(host), before)
  })

  it('leaves nothing stale of peers that came, left, moved or changed their MAC while it was down', async () => {
    host.daemon?.kill('SIGKILL')
    await host.daemon?.waitExit()
    await lab.etcd.del(strangerLease(1)[0])
    // The third: its host has another address now, the second: its device another MAC, the fifth is new.
    const moved = { PublicIP: '192.168.64.203' }
    const reborn = { BackendData: { VNI: 1, VtepMAC: '02:00:00:00:00:99' } }
    await lab.etcd.putAll([strangerLease(2, reborn), strangerLease(3, moved), strangerLease(5)])
    await startDaemon(host)
    await knowsPeers(host, 4)
    const peers = (await overlayOf(host)).filter((line) => /02:00:00:00:00|10\.5\.[1-5]\.0\b/.test(line))
    const nexthop = (n: number) => {
      const via = `10.5.${n}.0`
      return `id ${nexthopId({ device: 'flannel.1', via })} via ${via} dev flannel.1`
    }
    const throughNexthop = (n: number) => `10.5.${n}.0/24 nh${nexthop(n)} proto 102 onlink`
    assert.deepEqual(peers, [
      '02:00:00:00:00:03 dev flannel.1 dst 192.168.64.203 self permanent',
      '02:00:00:00:00:05 dev flannel.1 dst 192.168.64.105 self permanent',
      '02:00:00:00:00:99 dev flannel.1 dst 192.168.64.102 self permanent',
      '10.5.2.0 dev flannel.1 lladdr 02:00:00:00:00:99 PERMANENT',
      throughNexthop(2),
      '10.5.3.0 dev flannel.1 lladdr 02:00:00:00:00:03 PERMANENT',
      throughNexthop(3),
      '10.5.5.0 dev flannel.1 lladdr 02:00:00:00:00:05 PERMANENT',
      throughNexthop(5),
      ...[5, 3, 2].map((n) => `${nexthop(n)} scope link proto 102 onlink`),
    ])
  })

  it('has the same subnet and MAC after a reboot', async () => {
    const before = await networkOf(host)
    const { text } = await host.subnetEnv()
    host.daemon?.kill('SIGKILL')
    await host.daemon?.waitExit()
    // /run is empty then, and the kernel knows nothing; the state directory stays.
    await host.ip('link', 'del', 'flannel.1')
    await host.exec(['rm', '-f', host.paths.subnetFile, host.paths.statusSocket])
    await startDaemon(host)
    assert.equal((await host.subnetEnv()).text, text)
    await ready(host)
    await until(2_000, 'all is as before', async () => assertSame(await networkOf(host), before))
  })

  it('has its MAC also after a start at which a bridge of somebody else bore the name of its device (row 38)', async () => {
    const before = await networkOf(host)
    await host.daemon?.stop()
    await host.ip('link', 'del', 'flannel.1')
    await host.ip('link', 'add', 'flannel.1', 'type', 'bridge')
    try {
      await startDaemon(host)
      await until(5_000, 'the bridge is named', async () => {
        assert.match(
          (await status(host)).notReady.join('\n'),
          /link flannel\.1: in the way, .*ip link delete flannel\.1/,
        )
      })
    } finally {
      await host.ip('link', 'del', 'flannel.1')
    }
    await ready(host)
    await until(2_000, 'all is as before', async () => assertSame(await networkOf(host), before))
  })
})
