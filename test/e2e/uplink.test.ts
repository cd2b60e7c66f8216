import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { needs } from '../needs.ts'
import { transfer } from './transfer.ts'
import {
  assertSame,
  bringUp,
  knowsPeers,
  leaseOf,
  logsInFailure,
  networkOf,
  oneSegment,
  status,
  until,
} from './world.ts'

/** Fault rows 39 and 45: what happens to the interface below. */
for (const backend of [{ Type: 'vxlan' }, { Type: 'vxlan', DirectRouting: true }, { Type: 'host-gw' }]) {
  const title = JSON.stringify(backend)

  describe(`the uplink under ${title}`, function () {
    needs(this, 'netns', 'etcd')
    this.timeout(180_000)
    const direct = backend.DirectRouting || backend.Type === 'host-gw'
    const overhead = backend.Type === 'vxlan' ? 50 : 0
    let lab: Lab
    let host: Host
    let healthy: readonly string[]

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(2), netConf: { Network: '10.5.0.0/16', Backend: backend } })
      await bringUp(lab.hosts)
      host = lab.host('h1')
      for (const each of lab.hosts) await knowsPeers(each, 1)
      await until(10_000, 'the path is what it shall be', async () => {
        const [route] = await host.ipJson('route', 'get', lab.host('h2').container('c1').address)
        assert.equal(route.dev, direct ? 'eth0' : 'flannel.1')
      })
      healthy = await networkOf(host)
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(async () => {
      await lab?.close()
    })

    const restored = async (ms: number) => {
      await until(ms, 'all is as before', async () => assertSame(await networkOf(host), healthy))
      await until(ms, 'traffic flows', async () => {
        const target = lab.host('h2').container('c1').address
        assert.equal((await host.container('c1').ping(target, { count: 1, wait: 200 })).received, 1)
      })
    }

    it('may go down and come up again', async () => {
      await host.linkDown()
      await host.linkUp()
      await restored(2_000)
      await host.linkDown()
      await systemClock.sleep(500, AbortSignal.timeout(5_000))
      await host.linkUp()
      await restored(2_000)
    })

    it('may be unplugged and deleted and come back as a new device (row 39)', async () => {
      const [nic] = host.layout.nics
      assert.ok(nic)
      const lease = await leaseOf(lab, host)
      await host.ip('link', 'del', nic.device)
      try {
        await until(2_000, 'the device has gone', async () => {
          assert.doesNotMatch((await networkOf(host)).join('\n'), /^flannel\.1: /m)
        })
      } finally {
        const { router } = lab
        await host.ip('link', 'add', nic.device, 'mtu', '1500', 'type', 'veth', 'peer', nic.port, 'netns', router.name)
        await router.ip('link', 'set', nic.port, 'master', nic.bridge, 'up')
        await host.linkUp()
      }
      // It has another MAC, which is not ours to keep.
      const mac = / link\/ether \S+/
      const without = (lines: readonly string[]) =>
        lines.map((line) => (line.startsWith('eth0') ? line.replace(mac, '') : line))
      await until(5_000, 'all is as before', async () => assertSame(without(await networkOf(host)), without(healthy)))
      healthy = await networkOf(host)
      // A new connection to etcd is waited for, and peers' neighbour entries of the old MAC run out.
      await restored(20_000)
      await until(20_000, 'etcd is followed again', async () => assert.equal((await status(host)).state, 'ok'))
      // The same host at the same address: there was nothing to write.
      assert.deepEqual(await leaseOf(lab, host), lease)
    })

    it('may change its MTU: device and subnet.env follow, a stream carries on (row 45)', async () => {
      const [own, other] = [host.container('c1'), lab.host('h2').container('c1')]
      const stream = transfer(own, other, 20, 100)
      // What fails first is told, not that the stream did not end.
      stream.catch(() => undefined)
      const sendWhole = async (bytes: number) =>
        await own.exec(['ping', '-nc1', '-W1', '-Mdo', `-s${bytes - 28}`, other.address], { anyCode: true })
      for (const mtu of [1400, 9000, 1500]) {
        await host.ip('link', 'set', 'eth0', 'mtu', String(mtu))
        const inner = mtu - overhead
        await until(2_000, `MTU ${inner} in subnet.env`, async () => assert.equal((await host.subnetEnv()).mtu, inner))
        if (backend.Type === 'vxlan') {
          const [link] = await host.ipJson('link', 'show', 'flannel.1')
          assert.equal(link.mtu, inner)
        }
        if (mtu > 1500) continue
        // What the container learned about the path before would hold for ten minutes.
        await own.ip('route', 'flush', 'cache')
        const limit = Math.min(direct ? mtu : inner, 1500 - overhead)
        await until(2_000, `packets of ${limit} pass`, async () => assert.equal((await sendWhole(limit)).code, 0))
        if (mtu === 1500) continue
        // The container's own interface is larger still, so this host must say what fits.
        const { code, stdout, stderr } = await sendWhole(limit + 1)
        assert.equal(code, 1)
        assert.match(stdout + stderr, new RegExp(`mtu ?[:=] ?${limit}\\b`))
      }
      assert.equal(await stream, 20 * 2 ** 20)
      await restored(2_000)
    })
  })
}
