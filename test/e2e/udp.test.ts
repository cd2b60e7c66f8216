import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { everyPairReaches, formatReach, measureReach } from '../../lab/reach-table.ts'
import { systemClock } from '../../lib/clock.ts'
import { percentile } from '../bench/statistics.ts'
import { needs, peerProgram } from '../needs.ts'
import { transfer } from './transfer.ts'
import {
  bringUp,
  flanneld,
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

const mtu = 1472
const userspace = { Network: '10.5.0.0/16', Backend: { Type: 'udp', Engine: 'userspace' } }

describe('udp in userspace', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let h1: Host
  let h2: Host
  let h3: Host

  before(async () => {
    lab = await Lab.create({ segments: twoSegments, rpFilter: 1, netConf: userspace })
    ;[h1, h2, h3] = lab.hosts as [Host, Host, Host]
    await bringUp([h1, h2])
    await knowsPeers(h1, 1)
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => await lab?.close())

  const reaches = async (from: Host, to: Host) => {
    const { received } = await from.container('c1').ping(to.container('c1').address, { count: 1, wait: 2_000 })
    assert.equal(received, 1, `${from.label} -> ${to.label}`)
  }

  it('a third host joins, and all pairs reach each other', async () => {
    await bringUp([h3])
    for (const host of lab.hosts) await knowsPeers(host, 2)
    const table = await measureReach(lab.hosts)
    assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
  })

  it('full-size packets pass, larger ones do not, and streams arrive whole', async () => {
    for (const host of lab.hosts) assert.equal((await host.subnetEnv()).mtu, mtu)
    for (const [from, to] of [
      [h1, h2],
      [h1, h3],
      [h3, h2],
    ] as const) {
      const [source, target] = [from.container('c1'), to.container('c1')]
      // ping goes before an answer that two proxies have been late to pass on.
      await until(5_000, `${from.label} -> ${to.label} DF ${mtu}`, async () =>
        assert.equal((await source.ping(target.address, { count: 2, size: mtu - 28, df: true })).received, 2),
      )
      const larger = await source.ping(target.address, { count: 1, size: mtu - 27, df: true, wait: 300 })
      assert.equal(larger.received, 0, `${from.label} -> ${to.label} DF ${mtu + 1}`)
      assert.equal(await transfer(source, target, 20), 20 * 2 ** 20, `${from.label} -> ${to.label} TCP`)
    }
  })

  it('answers while its thread carries all it can', async () => {
    let busy = true
    const stream = transfer(h1.container('c1'), h2.container('c1'), 400).finally(() => {
      busy = false
    })
    const ms = async (host: Host) => {
      const asked = systemClock.now()
      await status(host)
      return systemClock.now() - asked
    }
    const [took, idles]: [number[], number[]] = [[], []]
    while (busy) {
      took.push(await ms(h1))
      idles.push(await ms(h3))
      await systemClock.sleep(10, AbortSignal.timeout(30_000))
    }
    assert.equal(await stream, 400 * 2 ** 20)
    // What both take is the machine's: how many processes compete for its cores. h3 carries nothing, so the difference is the
    // product's. `npm run bench:udp` has the distribution.
    const [own, idle] = [percentile(took, 0.5), percentile(idles, 0.5)]
    assert.ok(
      took.length > 10 && own < 50 + 2 * idle,
      `${own} ms, an idle daemon ${idle} ms: ${took.map(Math.round).join(' ')}`,
    )
  })

  it('says which engine carries the packets and why, and counts them', async () => {
    const { conditions, dataPlane, state } = await status(h1)
    assert.equal(state, 'ok')
    const notice = conditions.find(({ code }: { code: string }) => code === 'udp-engine-userspace')
    assert.match(notice.text, /Backend\.Engine says so/)
    assert.ok(dataPlane.packets.out > 1_000 && dataPlane.packets.in > 100, JSON.stringify(dataPlane))
    assert.deepEqual([dataPlane.drops.stranger, dataPlane.deaths], [0, 0])
    assert.match((await flanneld(h1, ['status'])).stdout, /^data plane +\d+ packets out, \d+ in; dropped /m)
  })

  it('an address of no host is unreachable, in the words of ICMP', async () => {
    const { stdout } = await h1.container('c1').exec(['sh', '-c', 'ping -c 1 -W 1 10.5.0.77 2>&1 || true'])
    assert.match(stdout, /100% packet loss/)
    const connect = `require('net').connect(9, '10.5.0.77').on('error', (e) => process.stdout.write(e.code))`
    const answer = await h1.container('c1').exec(['node', '-e', connect], { timeout: 10_000 })
    assert.match(answer.stdout, /ENETUNREACH|EHOSTUNREACH/)
    assert.ok((await status(h1)).dataPlane.drops['no-peer'] > 0)
  })

  it('a peer that moves is followed, one that leaves is forgotten', async () => {
    const key = `${leasePrefix}10.5.250.0-24`
    const lease = await lab.etcd.grantLease(600)
    const addresses = ['192.168.64.99', '192.168.65.99']
    const rules = addresses.map((address) => `ip daddr ${address} udp dport 8285 counter`)
    await nft(h1, 'sent', 'output', rules)
    const counted = async () => {
      const { stdout } = await h1.exec(['nft', 'list', 'table', 'ip', 'sent'])
      return [...stdout.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count))
    }
    const bystander = h2.container('c1').startPing(h1.container('c1').address, 20)
    /** How many packets of one more ping go to each address. */
    const knock = async () => {
      const before = await counted()
      await h1.container('c1').ping('10.5.250.5', { count: 1, wait: 100 })
      return (await counted()).map((count, n) => count - (before[n] ?? 0))
    }
    // The thread that carries has its table a little after the status has it.
    const knocks = async (expected: readonly number[]) =>
      await until(5_000, `packets go to ${expected}`, async () => assert.deepEqual(await knock(), expected))
    try {
      await bystander.answered(AbortSignal.timeout(30_000))
      await lab.etcd.put(key, JSON.stringify({ PublicIP: addresses[0] }), { lease })
      await knowsPeers(h1, 3)
      await knocks([1, 0])
      await lab.etcd.put(key, JSON.stringify({ PublicIP: addresses[1] }), { lease })
      await knocks([0, 1])
      await lab.etcd.del(key)
      await knowsPeers(h1, 2)
      await knocks([0, 0])
    } finally {
      await lab.etcd.del(key)
      await h1.exec(['nft', 'delete', 'table', 'ip', 'sent'])
      await bystander.stop()
    }
    assert.equal(bystander.verdict().lost, 0)
  })

  it('a deleted device is back with a new worker within seconds', async () => {
    const before = await overlayOf(h1)
    await h1.ip('link', 'del', 'flannel0')
    await until(5_000, 'packets pass again', async () => await reaches(h1, h2))
    await knowsPeers(h1, 2)
    await until(5_000, 'everything is back', async () => assert.deepEqual(await overlayOf(h1), before))
    assert.equal((await status(h1)).dataPlane.deaths, 1)
    await reaches(h3, h1)
  })

  it('an address or a route that is taken away is back', async () => {
    const before = await overlayOf(h1)
    await h1.ip('address', 'flush', 'dev', 'flannel0')
    await until(3_000, 'the address', async () => assert.deepEqual(await overlayOf(h1), before))
    await h1.ip('route', 'del', '10.5.0.0/16', 'dev', 'flannel0')
    await until(3_000, 'the route', async () => assert.deepEqual(await overlayOf(h1), before))
    await reaches(h1, h3)
  })

  it('nothing leaves in clear while the daemon is dead, and the gap is as short as the start', async function () {
    await nft(h1, 'leak', 'postrouting', ['oifname eth0 ip daddr 10.5.0.0/16 counter'])
    const judge = h1.container('c1').startPing(h2.container('c1').address, 20)
    let lost = 0
    let away = 0
    try {
      await judge.answered(AbortSignal.timeout(30_000))
      for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
        const killed = systemClock.now()
        h1.daemon?.kill(signal)
        await h1.daemon?.waitExit({ timeout: 30_000 })
        assert.ok((await h1.ipJson('route', 'show', '10.5.0.0/16')).some(({ dev }) => dev === 'flannel0'))
        await startDaemon(h1)
        await knowsPeers(h1, 2)
        await until(5_000, 'packets pass', async () => await reaches(h1, h2))
        away += systemClock.now() - killed
        const { sent } = judge.verdict()
        await until(5_000, 'more packets', async () => assert.ok(judge.verdict().sent > sent + 10))
      }
    } finally {
      await judge.stop()
      lost = judge.verdict().lost
    }
    const { stdout } = await h1.exec(['nft', 'list', 'table', 'ip', 'leak'])
    await h1.exec(['nft', 'delete', 'table', 'ip', 'leak'])
    assert.match(stdout, /counter packets 0 bytes 0/)
    // What a running ping sees of a restart: the issue asks for it to be stated.
    if (this.test !== undefined) this.test.title += ` (${lost * 10} ms, mean of two)`
    // A start takes as long as the machine lets it: none is lost before it, but for what is on its way, and none after it.
    assert.ok(
      lost * 20 <= away + 200,
      `${lost} packets lost of one each 20 ms, in two restarts of ${Math.round(away)} ms in all`,
    )
  })

  it('flanneld plan has nothing to change, and cleanup leaves nothing', async () => {
    assert.match((await flanneld(h3, ['plan'])).stdout, /# nothing to change/)
    await h3.daemon?.stop()
    assert.equal((await h3.ipJson('link', 'show', 'flannel0')).length, 1)
    assert.equal((await flanneld(h3, ['cleanup'])).code, 0)
    assert.deepEqual(await overlayOf(h3), [])
  })
})

describe("udp in userspace beside flannel's daemon", function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(180_000)
  let lab: Lab

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  it('all reach each other, and either takes the other’s place', async function () {
    lab = await Lab.create({ segments: oneSegment(2), netConf: userspace })
    const [ours, theirs] = lab.hosts as [Host, Host]
    const flannel = { program: peerProgram('peer:flanneld') }
    await Promise.all([startDaemon(ours), startDaemon(theirs, flannel)])
    for (const host of lab.hosts) {
      await host.subnetEnv()
      await host.addContainer('c1')
    }
    const bothWays = async () => {
      const table = await measureReach(lab.hosts)
      assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
    }
    await until(15_000, 'the mixed pair is connected', bothWays)
    const [one, two] = [ours.container('c1'), theirs.container('c1')]
    for (const [from, to] of [
      [one, two],
      [two, one],
    ] as const) {
      await until(5_000, `DF ${mtu}`, async () =>
        assert.equal((await from.ping(to.address, { count: 2, size: mtu - 28, df: true })).received, 2),
      )
      assert.equal(await transfer(from, to, 5), 5 * 2 ** 20)
    }
    const { families } = await theirs.subnetEnv()
    const judge = one.startPing(two.address, 20)
    try {
      await judge.answered(AbortSignal.timeout(30_000))
      await theirs.daemon?.stop()
      await startDaemon(theirs)
      await knowsPeers(theirs, 1)
      assert.deepEqual((await theirs.subnetEnv()).families, families)
      await until(10_000, 'ours on both', bothWays)
    } finally {
      await judge.stop()
    }
    // The other's proxy takes its device along: what a running ping sees is ours to state, not to promise.
    if (this.test !== undefined) this.test.title += ` (gap on the change to ours: ${judge.verdict().lost * 20} ms)`
    // Our device stays, and flannel would make itself another one beside it: it must be given up before.
    const gap = two.startPing(one.address, 20)
    try {
      await gap.answered(AbortSignal.timeout(30_000))
      await ours.daemon?.stop()
      const { code, stdout, stderr } = await flanneld(ours, ['hand-over'])
      assert.equal(code, 0, stdout + stderr)
      assert.deepEqual(await overlayOf(ours), [])
      await startDaemon(ours, flannel)
      await until(15_000, "flannel's in the place of ours", bothWays)
      assert.equal((await ours.ipJson('link', 'show', 'flannel0')).length, 1)
      if (this.test !== undefined) this.test.title += ` (to flannel's: ${gap.verdict().lost * 20} ms)`
      // And back.
      await ours.daemon?.stop()
      await startDaemon(ours)
      await knowsPeers(ours, 1)
      await until(10_000, 'ours again', bothWays)
    } finally {
      await gap.stop()
    }
  })
})

async function nft(host: Host, table: string, hook: string, rules: readonly string[]): Promise<void> {
  const lines = [`type filter hook ${hook} priority 0`, ...rules].join('\n')
  await host.exec(['nft', `table ip ${table} {\nchain packets {\n${lines}\n}\n}`])
}
