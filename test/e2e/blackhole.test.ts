import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { leasePrefix, logsInFailure, ready, startDaemon, strangerLease, until, vxlanFrom100 } from './world.ts'

describe('--ip-blackhole-route', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let subnets: readonly string[]

  before(async () => {
    const segments = [{ name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1'] }]
    lab = await Lab.create({ segments, netConf: { ...vxlanFrom100, EnableIPv6: true, IPv6Network: 'fd05::/48' } })
    host = lab.host('h1')
    await startDaemon(host)
    subnets = (await host.subnetEnv()).families.map(({ subnet }) => subnet)
    await host.addContainer('c1')
    // As flannel makes it, where it hides the bridge from its own containers.
    for (const subnet of subnets) await host.ip('route', 'replace', 'blackhole', subnet)
    await host.daemon?.stop()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const blackholes = async () => {
    const lines = await Promise.all([4, 6].map((family) => host.ip(`-${family}`, 'route', 'show', 'type', 'blackhole')))
    return lines
      .flatMap((text) => text.split('\n'))
      .flatMap(
        (line) =>
          line
            .match(/^blackhole (\S+).* (proto \S+ metric \d+)/)
            ?.slice(1)
            .join(' ') ?? [],
      )
  }
  const own = () => subnets.map((subnet) => `${subnet} proto 102 metric 4294967294`)
  const gateway = (subnet: string) => subnet.replace('.0/24', '.2').replace('/64', '2')

  it('takes the place of flannel’s, behind the route of the bridge: containers are reached', async () => {
    await startDaemon(host, { args: ['--ip-blackhole-route'] })
    await ready(host)
    await until(2_000, 'ours alone', async () => assert.deepEqual(await blackholes(), own()))
    for (const subnet of subnets) await host.ip('route', 'replace', subnet, 'dev', 'cni0', 'proto', 'kernel')
    for (const subnet of subnets) assert.equal((await host.ping(gateway(subnet), { count: 1 })).received, 1, subnet)
  })

  it('catches what no container is there for, and is healed', async () => {
    await host.ip('link', 'set', 'cni0', 'down')
    for (const subnet of subnets) await assert.rejects(host.ip('route', 'get', gateway(subnet)), /Invalid argument/)
    for (const subnet of subnets) {
      await host.ip('route', 'del', 'blackhole', subnet, 'metric', '4294967294')
      await until(1_000, 'healed', async () => assert.deepEqual(await blackholes(), own()))
    }
  })

  it('of a subnet that the host had before, left by flannel, gives its place to the peer that has that now', async () => {
    const before = ['10.5.1.0/24', 'fd05:0:0:1::/64']
    for (const subnet of before) await host.ip('route', 'add', 'blackhole', subnet)
    const [, value] = strangerLease(1, {
      PublicIPv6: 'fd00:64::101',
      BackendV6Data: { VNI: 1, VtepMAC: '02:00:00:00:01:01' },
    })
    await lab.etcd.put(`${leasePrefix}10.5.1.0-24&fd05:0:0:1::-64`, value)
    await until(5_000, 'it is reached', async () => {
      for (const [index, subnet] of before.entries()) {
        const routes = await host.ip(index === 0 ? '-4' : '-6', 'route', 'show', subnet)
        assert.match(routes, /^\S+ nhid \d+ via \S+ dev flannel\S* proto 102 .*onlink( pref medium)?\s*$/, routes)
      }
    })
  })

  it('goes with the option', async () => {
    await host.daemon?.stop()
    await startDaemon(host)
    await ready(host)
    await until(2_000, 'none is left', async () => assert.deepEqual(await blackholes(), []))
  })
})
