import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { needs, peerProgram } from '../needs.ts'
import { countInLog, flanneld, knowsPeers, logsInFailure, networkOf, oneSegment, startDaemon, until } from './world.ts'

const everything = { args: ['--ingress-guard=on', '--ip-masq', '--ip-blackhole-route', '--masq-exempt=172.16.0.0/12'] }
const dualStack = { EnableIPv6: true, IPv6Network: 'fc00::/48' }
const cases = [
  { title: 'vxlan', backend: { Type: 'vxlan' }, device: 'flannel.1', more: dualStack },
  { title: 'vxlan with DirectRouting', backend: { Type: 'vxlan', DirectRouting: true }, device: 'eth0', more: {} },
  { title: 'host-gw', backend: { Type: 'host-gw' }, device: 'eth0', more: { ...dualStack, EnableNFTables: true } },
]

/** Back to flannel, and to us again: with all that our flags add, in an instance with a name of its own. */
describe('hand-over', function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(120_000)
  let lab: Lab
  let judges: PingJudge[] = []

  afterEach(async function () {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    judges = []
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  for (const { title, backend, device, more } of cases) {
    it(`of ${title} loses no packet on the way to flannel and back, and shuts out no later peer`, async () => {
      const netConf = { Network: '10.5.0.0/16', ...more, Backend: backend }
      lab = await Lab.create({
        segments: oneSegment(3).map((lan) => ({ ...lan, subnet6: 'fd64::/64' })),
        rpFilter: 1,
        netConf,
      })
      const [h1, h2, h3] = lab.hosts as [Host, Host, Host]
      await Promise.all([startDaemon(h1, everything), startDaemon(h2, everything)])
      for (const host of [h1, h2]) await host.addContainer('c1')
      for (const host of [h1, h2]) await knowsPeers(host, 1)
      await until(10_000, 'the route is what it shall be', async () => {
        assert.equal((await routesTo(h1))[0]?.dev, device)
        assert.equal((await routesTo(h2))[0]?.dev, device)
      })
      judges = ([h1.container('c1'), h2.container('c1')] as const).flatMap((from, n, all) =>
        (all[1 - n]?.addresses ?? []).map((address) => from.startPing(address, 20)),
      )
      await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))

      const running = await networkOf(h1)
      assert.match(running.join('\n'), /flanneld-guard-[0-9a-f]{8}/)
      const refused = await flanneld(h1, ['hand-over'])
      assert.deepEqual([refused.code, new RegExp(`pid ${h1.daemon?.pid}\\b`).test(refused.stderr)], [75, true])
      assert.deepEqual(await networkOf(h1), running)

      const { text, families } = await h1.subnetEnv()
      h1.daemon?.kill('SIGKILL')
      await h1.daemon?.waitExit()
      const { code, stdout, stderr } = await flanneld(h1, ['hand-over'])
      assert.equal(code, 0, stdout + stderr)
      assert.match(stdout, new RegExp(`^ip route replace 10\\.5\\..* dev ${device}( onlink)?$`, 'm'))
      await nothingLost('our hand-over')
      await isFlannels(h1)
      assert.equal((await h1.subnetEnv()).text, text)
      // From here on nothing is ours.
      for (const command of ['cleanup', 'hand-over']) assert.equal((await flanneld(h1, [command])).code, 0)
      await isFlannels(h1)
      assert.equal((await h1.subnetEnv()).text, text)

      await startFlannel(h1)
      await nothingLost("flannel's start")
      await startDaemon(h3, everything)
      await h3.addContainer('c1')
      await until(10_000, 'a later peer reaches the host', async () => {
        const { received } = await h3.container('c1').ping(h1.container('c1').address, { count: 1, wait: 500 })
        assert.equal(received, 1)
      })
      assert.deepEqual((await h1.subnetEnv()).families, families)

      await h1.daemon?.stop()
      await startDaemon(h1, everything)
      await knowsPeers(h1, 2)
      await nothingLost('the way back')
      assert.ok((await routesTo(h1)).every(({ protocol }) => protocol === '102'))
      for (const host of [h2, h3]) assert.equal(await countInLog(host, /route repaired/), 0, host.label)
      assert.equal((await h1.subnetEnv()).text, text)
    })
  }

  /** Nothing but what flannel would have made, and what it needs to go on. */
  async function isFlannels(host: Host): Promise<void> {
    const network = (await networkOf(host)).join('\n')
    assert.doesNotMatch(network, /proto 102|flanneld-guard|FLANNEL-|flannel-ipv|blackhole/)
    assert.match(network, /^10\.5\..* via .* dev /m)
    assert.equal((await host.exec(['cat', '/proc/sys/net/ipv4/conf/eth0/rp_filter'])).stdout.trim(), '1')
    assert.ok(!existsSync(host.paths.statusSocket))
    assert.ok(!existsSync(join(host.folder, '.subnet.env.lock')))
  }

  const routesTo = async (host: Host) =>
    (await host.ipJson('route', 'show', 'root', '10.5.0.0/16')).filter(({ gateway }) => gateway)

  async function startFlannel(host: Host): Promise<void> {
    const before = ((await host.daemon?.logText()) ?? '').length
    await startDaemon(host, { program: peerProgram('peer:flanneld'), args: ['--ip-masq'] })
    await until(10_000, "flannel's runs", async () => {
      assert.match(((await host.daemon?.logText()) ?? '').slice(before), /Waiting for .* to renew lease/)
    })
  }

  /** Looks once some packets more have gone each way: what has been done has had its effect then. */
  async function nothingLost(what: string): Promise<void> {
    const sent = judges.map((judge) => judge.verdict().sent)
    await until(10_000, 'more packets', async () => {
      for (const [n, judge] of judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 25)
    })
    assert.deepEqual(
      judges.map((judge) => judge.verdict().lost),
      judges.map(() => 0),
      what,
    )
  }
})
