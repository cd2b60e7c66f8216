import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { everyPairReaches, formatReach, measureReach } from '../../lab/reach-table.ts'
import { transfer } from '../e2e/transfer.ts'
import { leasePrefix, logsInFailure, startDaemon, status, twoSegments, until } from '../e2e/world.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import {
  allKnow,
  bringUp,
  cleanUp,
  ipip,
  ipipDirect,
  loadFou,
  patience,
  patiently,
  tunnelLab,
  udp,
} from './tunnel-world.ts'

// Each takes minutes in an emulated machine.
for (const each of long ? [ipip, ipipDirect, udp] : [ipipDirect, udp]) {
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
      await patiently('the ways', async () => {
        const { peers } = await status(hosts()[0])
        const paths = peers.map(({ path }: { path: string }) => path).sort()
        assert.deepEqual(paths, each.direct ? ['direct', 'tunnel'] : ['tunnel', 'tunnel'])
      })
      const [, two] = hosts()
      const [route] = await hosts()[0].ipJson('route', 'get', two.container('c1').address)
      assert.equal(route.dev, each.direct ? 'eth0' : device)
      const { conditions } = await status(hosts()[0])
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

    it('a daemon that is killed or restarted loses no packet, while it is away and on its return', async () => {
      const [one, two, three] = hosts()
      const judges = [two, three].map((other) => one.container('c1').startPing(other.container('c1').address, 50))
      const sentMore = async (than: number) => {
        const before = judges.map((judge) => judge.verdict().sent)
        await patiently('packets', async () => {
          for (const [index, judge] of judges.entries()) assert.ok(judge.verdict().sent > (before[index] ?? 0) + than)
        })
      }
      try {
        for (const judge of judges) await judge.answered(AbortSignal.timeout(patience))
        for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
          one.daemon?.kill(signal)
          await one.daemon?.waitExit({ timeout: patience })
          await sentMore(40)
          await startDaemon(one)
          await allKnow([one], 2)
          await sentMore(20)
        }
      } finally {
        for (const judge of judges) await judge.stop()
      }
      for (const judge of judges) assert.equal(judge.verdict().lost, 0)
    })

    it('a host that gets another address keeps its subnet, and the others follow', async () => {
      const [one, two, three] = hosts()
      const before = (await two.subnetEnv()).families
      await two.sysctl({ 'net/ipv4/conf/eth0/promote_secondaries': 1 })
      await two.ip('address', 'add', '192.168.64.50/24', 'dev', 'eth0')
      await two.ip('address', 'del', `${two.address}/24`, 'dev', 'eth0')
      const [subnet] = before.map((family) => family.subnet)
      await patiently('the lease', async () => {
        const found = await lab.etcd.get(`${leasePrefix}${subnet?.replace('/', '-')}`)
        assert.equal(JSON.parse(found?.value ?? '{}').PublicIP, '192.168.64.50')
      })
      await patiently('all pairs', async () => {
        const table = await measureReach(hosts())
        assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
      })
      for (const other of [one, three]) {
        const [route] = await other.ipJson('route', 'get', two.container('c1').address)
        assert.equal(route.gateway, '192.168.64.50', other.label)
      }
      assert.deepEqual((await two.subnetEnv()).families, before)
    })

    it('a peer that moves is followed, one that leaves is forgotten', async () => {
      const [one] = hosts()
      const value = (publicIp: string) =>
        JSON.stringify({ PublicIP: publicIp, ...(each === udp ? {} : { BackendType: 'ipip' }) })
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
