import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { everyPairReaches, formatReach, measureReach } from '../../lab/reach-table.ts'
import { transfer } from '../e2e/transfer.ts'
import { leasePrefix, logsInFailure, startDaemon, status, twoSegments, until } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { allKnow, bringUp, cleanUp, ipip, loadFou, patience, patiently, tunnelLab, udp } from './tunnel-world.ts'

for (const each of [ipip, udp]) {
  const { title, device, mtu } = each

  describe(`three hosts with ${title}`, function () {
    needs(this, 'netns', 'etcd')
    this.timeout(4 * patience)
    let lab: Lab
    let [h1, h2, h3]: Host[] = []

    before(async () => {
      loadFou()
      lab = await tunnelLab(each, twoSegments)
      ;[h1, h2, h3] = [lab.host('h1'), lab.host('h2'), lab.host('h3')]
      await bringUp([h1, h2])
    })
    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })
    after(async () => await lab?.close())

    function hosts(): readonly [Host, Host, Host] {
      assert(h1 && h2 && h3)
      return [h1, h2, h3]
    }

    async function reaches(from: Host, to: Host): Promise<void> {
      const { received } = await from.container('c1').ping(to.container('c1').address, { count: 1, wait: 2_000 })
      assert.equal(received, 1, `${from.label} -> ${to.label}`)
    }

    it('a third one joins, and all pairs reach each other', async () => {
      const all = hosts()
      await allKnow(all.slice(0, 2), 1)
      await bringUp(all.slice(2))
      await allKnow(all, 2)
      await patiently('all pairs', async () => {
        const table = await measureReach(all)
        assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
      })
      for (const host of all) assert.equal((await host.subnetEnv()).mtu, mtu)
    })

    it('full-size packets pass, larger ones do not, and streams arrive whole', async () => {
      const [one, two, three] = hosts()
      for (const [from, to] of [
        [one, two],
        [one, three],
        [three, two],
      ] as const) {
        const [source, target] = [from.container('c1'), to.container('c1')]
        const full = await source.ping(target.address, { count: 2, size: mtu - 28, df: true, wait: 3_000 })
        assert.equal(full.received, 2, `${from.label} -> ${to.label} DF ${mtu}`)
        const larger = await source.ping(target.address, { count: 1, size: mtu - 27, df: true, wait: 500 })
        assert.equal(larger.received, 0, `${from.label} -> ${to.label} DF ${mtu + 1}`)
        assert.equal(await transfer(source, target, 4), 4 * 2 ** 20, `${from.label} -> ${to.label} TCP`)
      }
    })

    it('says which way its packets take', async () => {
      const { peers, conditions } = await status(hosts()[0])
      assert.deepEqual(
        peers.map(({ path }: { path: string }) => path),
        ['tunnel', 'tunnel'],
      )
      const codes = conditions.map(({ code }: { code: string }) => code)
      assert.equal(codes.includes('udp-engine-kernel'), title === udp.title)
    })

    it('a deleted device is back with everything on it', async () => {
      const [one, two, three] = hosts()
      const before = await one.ipJson('route', 'show', 'dev', device)
      await one.ip('link', 'del', device)
      await until(10_000, 'the routes are back', async () => {
        assert.deepEqual(await one.ipJson('route', 'show', 'dev', device), before)
      })
      for (const other of [two, three]) await until(10_000, 'packets pass', async () => await reaches(one, other))
    })

    it('a killed daemon loses no packet, dead and on its return', async () => {
      const [one, two] = hosts()
      const judge = one.container('c1').startPing(two.container('c1').address, 50)
      try {
        await judge.answered(AbortSignal.timeout(patience))
        one.daemon?.kill('SIGKILL')
        await patiently('packets while it is dead', async () => assert.ok(judge.verdict().sent > 40))
        await startDaemon(one)
        await allKnow([one], 2)
        const { sent } = judge.verdict()
        await patiently('packets after', async () => assert.ok(judge.verdict().sent > sent + 20))
      } finally {
        await judge.stop()
      }
      assert.equal(judge.verdict().lost, 0)
    })

    it('a peer that moves is followed, one that leaves is forgotten', async () => {
      const [one] = hosts()
      const value = (publicIp: string) =>
        JSON.stringify({ PublicIP: publicIp, ...(title === ipip.title ? { BackendType: 'ipip' } : {}) })
      const key = `${leasePrefix}10.5.250.0-24`
      const lease = await lab.etcd.grantLease(600)
      const gateways = async () =>
        (await one.ipJson('route', 'show', '10.5.250.0/24')).map(({ gateway, dev }) => `${gateway} ${dev}`)
      for (const address of ['192.168.64.99', '192.168.65.99']) {
        // Without one it would be a reservation.
        await lab.etcd.put(key, value(address), { lease })
        await patiently('the route', async () => assert.deepEqual(await gateways(), [`${address} ${device}`]))
      }
      await lab.etcd.del(key)
      await patiently('no route', async () => assert.deepEqual(await gateways(), []))
    })

    it('nothing of it is left after cleanup, and the kernel’s own tunnel was never touched', async () => {
      const [, , three] = hosts()
      const foreign = (await three.ipJson('link', 'show', 'type', 'ipip')).filter(({ ifname }) => ifname !== device)
      await three.daemon?.stop()
      await cleanUp(three)
      assert.deepEqual(await three.ipJson('link', 'show', 'type', 'ipip'), foreign)
      assert.equal((await three.exec(['ip', 'fou', 'show'])).stdout, '')
    })
  })
}
