import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  knowsPeers,
  leaseOf,
  leasePrefix,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  startOver,
  status,
  steady,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

describe('the own lease', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(5), netConf: vxlanFrom100 })
    host = lab.host('h1')
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await startOver(lab, vxlanFrom100)
  })

  after(async () => {
    await lab?.close()
  })

  const subnetOf = async (each: Host) => (await each.subnetEnv()).families[0]?.subnet
  const restart = async (each: Host, args: readonly string[] = []) => {
    each.daemon?.kill('SIGKILL')
    await each.daemon?.waitExit()
    await startDaemon(each, { args })
  }

  it('is got, kept and given back where no code may be made of text', async () => {
    const daemon = await startDaemon(host, { env: { NODE_OPTIONS: '--disallow-code-generation-from-strings' } })
    await ready(host)
    daemon.kill('SIGTERM')
    assert.deepEqual(await daemon.waitExit(), { code: 0, signal: null })
  })

  it('is written as flannel would write it, with our NodeID behind, and lives a day', async () => {
    await startDaemon(host)
    await ready(host)
    const lease = await leaseOf(lab, host)
    const [link] = await host.ipJson('link', 'show', 'flannel.1')
    const { nodeId } = await status(host)
    assert.equal(
      lease.value,
      `{"PublicIP":"192.168.64.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${link.address}"},"NodeID":"${nodeId}"}`,
    )
    const { TTL } = (await lab.etcd.call('lease/timetolive', { ID: lease.lease })) as { TTL: string }
    assert.ok(Number(TTL) > 86_000 && Number(TTL) <= 86_400, TTL)
  })

  it('says a port that is not the usual one behind flannel’s words, and is left as it is', async () => {
    await lab.configure({ ...vxlanFrom100, Backend: { Type: 'vxlan', Port: 4789 } })
    try {
      await host.daemon?.stop()
      await startDaemon(host)
      await ready(host)
      const [link] = await host.ipJson('link', 'show', 'flannel.1')
      const { nodeId } = await status(host)
      const path = `"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${link.address}"}`
      const text = `{"PublicIP":"192.168.64.11","PublicIPv6":null,${path},"NodeID":"${nodeId}","Accepts":[{${path},"Port":4789}]}`
      assert.equal((await leaseOf(lab, host)).value, text)
      // Read back it is what was wanted: nothing is written again.
      await host.daemon?.stop()
      await startDaemon(host)
      await ready(host)
      await steady(1_000, async () => (await leaseOf(lab, host)).modRevision)
      assert.equal((await leaseOf(lab, host)).value, text)
    } finally {
      await lab.configure(vxlanFrom100)
      await host.daemon?.stop()
    }
  })

  it('follows a hint in subnet.env, but not shell text and not into a subnet of another (row 10)', async () => {
    const trap = `${host.folder}/was-here`
    const text = (subnet: string) =>
      `FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=${subnet}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n`
    // The lab's other file comes and goes with a start; the state directory is new each time.
    const startWith = async (content: string) => {
      await host.daemon?.stop()
      await host.exec(['rm', '-rf', host.paths.stateDir])
      await lab.etcd.del(leasePrefix, { prefix: true })
      await lab.etcd.put(...strangerLease(7))
      writeFileSync(host.paths.subnetFile, content)
      await startDaemon(host)
      await ready(host)
      return await subnetOf(host)
    }
    assert.equal(await startWith(text('10.5.240.1/24')), '10.5.240.0/24')
    assert.notEqual(await startWith(text('10.5.7.1/24')), '10.5.7.0/24')
    for (const poison of [
      text(`10.5.241.1/24; touch ${trap}`),
      text(`$(touch ${trap})`),
      text('10.6.1.1/24'),
      text('10.5.241.1/16'),
      'no subnet at all',
    ]) {
      const subnet = await startWith(poison)
      assert.match(subnet ?? '', /^10\.5\.\d+\.0\/24$/)
      assert.notEqual(subnet, '10.5.241.0/24')
    }
    await assert.rejects(host.exec(['test', '-e', trap]))
    assert.equal(JSON.parse((await lab.etcd.get(strangerLease(7)[0]))?.value ?? '').PublicIP, '192.168.64.107')
  })

  it('is found again by NodeID when the host has another address', async () => {
    await startDaemon(host)
    await ready(host)
    const before = await subnetOf(host)
    await host.daemon?.stop()
    await startDaemon(host, { args: ['--public-ip=192.168.64.200', '--iface=eth0'] })
    await ready(host)
    assert.equal(await subnetOf(host), before)
    const leases = await lab.etcd.list(leasePrefix)
    assert.deepEqual(
      leases.map(({ value }) => JSON.parse(value).PublicIP),
      ['192.168.64.200'],
    )
  })

  it('follows a change of the host address in place (row 39)', async () => {
    const other = lab.host('h2')
    await startDaemon(host)
    await startDaemon(other)
    await knowsPeers(other, 1)
    const before = await subnetOf(host)
    const readdress = (from: string, to: string) =>
      host.ipBatch([
        `addr del ${from}/24 dev eth0`,
        `addr add ${to}/24 dev eth0`,
        'route replace default via 192.168.64.1',
      ])
    await readdress(host.address, '192.168.64.210')
    try {
      await until(10_000, 'the lease follows', async () => {
        const leases = await lab.etcd.list(leasePrefix)
        const own = leases.find(({ key }) => key.endsWith(`${before?.replace('/', '-')}`))
        assert.equal(JSON.parse(own?.value ?? '{}').PublicIP, '192.168.64.210')
      })
      await until(2_000, 'the peer follows', async () => {
        assert.match((await networkOf(other)).join('\n'), /dev flannel\.1 dst 192\.168\.64\.210 self permanent/)
      })
      await until(2_000, 'the device follows', async () => {
        assert.match(await host.ip('-d', 'link', 'show', 'flannel.1'), /local 192\.168\.64\.210/)
      })
      assert.equal(await subnetOf(host), before)
    } finally {
      await readdress('192.168.64.210', host.address)
    }
  })

  it('claims a reservation and leaves it one', async () => {
    const key = `${leasePrefix}10.5.166.0-24`
    await lab.etcd.put(key, '{"PublicIP":"192.168.64.11"}')
    await lab.etcd.put(`${leasePrefix}10.5.167.0-24`, '{"PublicIP":"192.168.64.99"}')
    await startDaemon(host)
    await ready(host)
    assert.equal(await subnetOf(host), '10.5.166.0/24')
    const claimed = await lab.etcd.get(key)
    assert.equal(claimed?.lease, '0')
    assert.equal(JSON.parse(claimed?.value ?? '').BackendType, 'vxlan')
    assert.equal((await status(host)).lease.expiresAt, null)
    await restart(host)
    await ready(host)
    assert.equal((await lab.etcd.get(key))?.lease, '0')
    assert.deepEqual((await status(host)).peers, [])
  })

  it('waits where the pool is exhausted, says so, and gets what becomes free (row 20)', async () => {
    // Three subnets, /30 each, the first of the four being left free.
    await lab.configure({ Network: '10.5.0.0/28', SubnetLen: 30, Backend: { Type: 'vxlan' } })
    const [last, ...others] = [...lab.hosts].reverse().slice(1) as [Host, ...Host[]]
    for (const each of others) {
      await startDaemon(each)
      await ready(each)
    }
    await startDaemon(last)
    await until(5_000, 'the shortage is shown', async () => {
      const { ready: isReady, notReady } = await status(last)
      assert.equal(isReady, false)
      assert.match(notReady.join('\n'), /no free subnet is left between 10\.5\.0\.4 and 10\.5\.0\.12/)
    })
    assert.equal(last.daemon?.running, true)
    await others[0]?.daemon?.stop()
    await lab.etcd.del((await leaseOf(lab, others[0] as Host)).key)
    await ready(last)
    assert.equal((await lab.etcd.list(leasePrefix)).length, 3)
  })

  it('is found although somebody has put a key as wide as the network', async () => {
    for (const id of ['10.5.0.0-16', '10.0.0.0-8']) await lab.etcd.put(`${leasePrefix}${id}`, strangerLease(1)[1])
    await startDaemon(host)
    await ready(host)
    assert.match((await subnetOf(host)) ?? '', /^10\.5\.\d+\.0\/24$/)
    const { rejected } = await status(host)
    assert.deepEqual(rejected.map(({ id, reason }: Record<string, string>) => `${id} ${reason}`).sort(), [
      '10.0.0.0-8 outside-network',
      '10.5.0.0-16 own-subnet',
    ])
  })

  it('is another for each of five hosts that join at once (row 19)', async () => {
    // Eight subnets: most first choices collide.
    await lab.configure({ Network: '10.5.0.0/27', SubnetLen: 30, Backend: { Type: 'vxlan' } })
    await Promise.all(lab.hosts.map((each) => startDaemon(each)))
    for (const each of lab.hosts) await knowsPeers(each, 4)
    const subnets = new Set(await Promise.all(lab.hosts.map(subnetOf)))
    assert.equal(subnets.size, 5)
    for (const each of lab.hosts) assert.equal(each.daemon?.running, true)
  })

  it('keeps the state directory private and the identity in it', async () => {
    await startDaemon(host)
    await ready(host)
    const { stdout } = await host.exec(['find', host.paths.stateDir, '-printf', '%y %m %f\\n'])
    // The daemon makes the folder of its instance, here in one that the lab's first command has made.
    assert.match(stdout, /^d 700 [0-9a-f]{8}$/m)
    assert.match(stdout, /^f 600 node-id$/m)
    const file = (await host.exec(['find', host.paths.stateDir, '-name', 'node-id'])).stdout.trim()
    assert.equal(readFileSync(file, 'utf8').trim(), (await status(host)).nodeId)
  })
})
