import assert from 'node:assert/strict'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { type Cidr, networkAddress } from '../../lib/address.ts'
import { needs } from '../needs.ts'
import {
  bringUp,
  daemonProgram,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  ready,
  startDaemon,
  status,
  until,
  vxlanFrom100,
} from './world.ts'

const dual = { ...vxlanFrom100, EnableIPv6: true, IPv6Network: 'fc00::/48' }
const ROOMY = 1500
/** Enough for IPv6 on the uplink, and too little for IPv6 in a tunnel over it. */
const TIGHT = 1300

describe('two families', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let h1: Host
  let h2: Host

  before(async () => {
    const lan = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2'] }
    lab = await Lab.create({ segments: [lan], netConf: vxlanFrom100 })
    ;[h1, h2] = lab.hosts as [Host, Host]
    await bringUp([h1, h2])
    for (const host of [h1, h2]) await knowsPeers(host, 1)
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(() => lab?.close())

  const restart = async (
    host: Host,
    ...[options]: Parameters<typeof startDaemon> extends [Host, ...infer O] ? O : never
  ) => {
    await host.daemon?.stop()
    await startDaemon(host, options)
    await host.subnetEnv()
    await ready(host)
  }
  const reaches = async (from: Host, to: Host) => {
    const { received } = await from.container('c1').ping(to.container('c1').address, { count: 2, interval: 20 })
    assert.equal(received, 2, `${from.label} -> ${to.label}`)
  }
  /** Through the tunnel of IPv6, from device to device. */
  const reachesByIpv6 = async (from: Host, to: Host) => {
    const { families } = await to.subnetEnv()
    const device = networkAddress(String(families[1]?.subnet) as Cidr)
    assert.equal((await from.ping(device, { count: 2, interval: 20 })).received, 2, `${from.label} -> ${device}`)
  }
  /** What the node says of the own object that fails, as `severity remedy`. */
  const ailments = async (host: Host) => {
    const { conditions } = await status(host)
    return conditions.flatMap(({ code, severity, remedy }: Record<string, string>) =>
      code?.startsWith('required-') ? [`${severity} ${remedy}`] : [],
    )
  }
  const isDegraded = async (host: Host, remedy: RegExp) => {
    const { ready, state } = await status(host)
    assert.deepEqual([ready, state], [true, 'degraded'])
    const found = await ailments(host)
    assert.ok(found.length > 0 && found.every((text: string) => text.startsWith('warning ')), found.join())
    assert.match(found.join(), remedy)
    assert.equal((await host.subnetEnv()).families.length, 2)
    await reaches(host, h2)
    await reaches(h2, host)
  }

  it('a rolling restart turns IPv6 on: who has it goes on speaking IPv4 to who has it not, and IPv6 works where new devices are born without', async () => {
    await h1.exec(['sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1'])
    await lab.configure(dual)
    await restart(h1)
    for (const host of [h1, h2]) await knowsPeers(host, 1)
    await reaches(h1, h2)
    await reaches(h2, h1)
    await h1.exec(['sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=0'])
    await restart(h2)
    for (const host of [h1, h2]) await knowsPeers(host, 1)
    await reaches(h1, h2)
    await reachesByIpv6(h1, h2)
    assert.equal((await status(h1)).state, 'ok')
    // Switched off by somebody later.
    await h1.exec(['sysctl', '-qw', 'net.ipv6.conf.flannel-v6/1.disable_ipv6=1'])
    await until(3_000, 'IPv6 is back', () => reachesByIpv6(h1, h2))
  })

  const value = (n: number, more: object = {}) => {
    const data = (family: string) => ({ VNI: 1, VtepMAC: `02:00:00:00:${family}:0${n}` })
    const addresses = { PublicIP: `192.168.64.10${n}`, PublicIPv6: `fd00:64::10${n}` }
    return JSON.stringify({
      ...addresses,
      BackendType: 'vxlan',
      BackendData: data('04'),
      BackendV6Data: data('06'),
      ...more,
    })
  }
  const routes = async () => (await h1.exec(['sh', '-c', 'ip -4 route; ip -6 route'])).stdout

  it('a peer with one family, or one good one, gets that family’s objects', async () => {
    const put = (n: number, more: object, v4 = `10.5.${n}.0-24`) =>
      lab.etcd.put(`${leasePrefix}${v4}&fc00:0:0:${n}::-64`, value(n, more))
    await put(1, { BackendV6Data: { VNI: 1, VtepMAC: 'none' } })
    await put(2, { BackendData: null })
    await put(3, { PublicIP: '0.0.0.0', BackendData: undefined }, '0.0.0.0-0')
    await until(3_000, 'each has what it can have', async () => {
      const text = await routes()
      const found = [1, 2, 3].map((n) =>
        [`10.5.${n}.0/24 `, `fc00:0:0:${n}::/64 `].map((dst) => text.includes(`${dst}`)),
      )
      assert.deepEqual(found, [
        [true, false],
        [false, true],
        [false, true],
      ])
      const { peers } = await status(h1)
      const states = peers.flatMap(({ id, state, reason }: Record<string, string>) =>
        /fc00:0:0:[123]::-64$/.test(id ?? '') ? [`${state} ${reason}`] : [],
      )
      assert.deepEqual(
        states.map((text: string) => text.replace(/: .*/, '')),
        ['degraded invalid-vtep', 'degraded invalid-vtep', 'ok '],
      )
    })
    for (const v4 of ['10.5.1.0', '10.5.2.0', '0.0.0.0']) await lab.etcd.del(`${leasePrefix}${v4}`, { prefix: true })
  })

  it('two that got one IPv6 subnet, as when they ask for it at once, keep their routes of IPv4; the older one has the subnet', async () => {
    const keys = [4, 5].map((n) => `${leasePrefix}10.5.${n}.0-24&fc00:0:0:4::-64`)
    await lab.etcd.put(keys[0] as string, value(4))
    await until(3_000, 'the first one is there', async () => assert.match(await routes(), /^10\.5\.4\.0\/24 /m))
    const isOf = async (n: number) => {
      assert.match(await routes(), /^fc00:0:0:4::\/64 /m)
      const gateway = await h1.ip('-6', 'neigh', 'show', 'fc00:0:0:4::', 'dev', 'flannel-v6.1')
      assert.match(gateway, new RegExp(`lladdr 02:00:00:00:06:0${n} PERMANENT`))
    }
    await isOf(4)
    await lab.etcd.put(keys[1] as string, value(5))
    await until(3_000, 'both have IPv4', async () => {
      const { rejected } = await status(h1)
      assert.deepEqual(
        rejected.map(({ id, reason }: Record<string, string>) => `${id} ${reason}`),
        ['10.5.5.0-24&fc00:0:0:4::-64 overlap'],
      )
      const text = await routes()
      for (const n of [4, 5]) assert.match(text, new RegExp(`^10\\.5\\.${n}\\.0/24 `, 'm'))
      await isOf(4)
    })
    await lab.etcd.del(keys[0] as string)
    await until(3_000, 'who is left has both', async () => {
      assert.deepEqual((await status(h1)).rejected, [])
      await isOf(5)
    })
    await lab.etcd.del(keys[1] as string)
    await until(3_000, 'and goes', async () => assert.doesNotMatch(await routes(), /10\.5\.[45]\.0|fc00:0:0:4::/))
  })

  it('an uplink too small for IPv6 in the tunnel leaves IPv4 as it is, from the start and on the way; the number is named', async () => {
    const mtu = (bytes: number) => h1.exec(['ip', 'link', 'set', 'eth0', 'mtu', String(bytes)])
    await mtu(TIGHT)
    await until(5_000, 'noticed', () => isDegraded(h1, /MTU of eth0 at least 1350/))
    await h1.exec(['rm', h1.paths.subnetFile])
    await restart(h1)
    await until(5_000, 'from the start, too', () => isDegraded(h1, /MTU of eth0 at least 1350/))
    await mtu(ROOMY)
    await until(5_000, 'IPv6 is back', async () => {
      assert.deepEqual(await ailments(h1), [])
      await reachesByIpv6(h1, h2)
    })
  })

  it('where /proc/sys is read-only and new devices are born without IPv6, the sysctl is named and IPv4 runs', async () => {
    const program = join(lab.folder, 'flanneld-in-a-container')
    const script = `mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec ${daemonProgram} "$@"`
    await writeFile(program, `#!/bin/sh\nexec unshare -m sh -c '${script}' sh "$@"\n`)
    await chmod(program, 0o755)
    await h1.daemon?.stop()
    await h1.exec(['sh', '-c', 'sysctl -qw net.ipv6.conf.default.disable_ipv6=1; ip link del flannel-v6.1'])
    await restart(h1, { program })
    const remedy = 'sysctl -w net.ipv6.conf.flannel-v6.1.disable_ipv6=0'
    await until(5_000, 'degraded', () => isDegraded(h1, new RegExp(remedy)))
    await h1.exec(remedy.replace('flannel-v6.1', 'flannel-v6/1').split(' '))
    await until(5_000, 'IPv6 is back', () => reachesByIpv6(h1, h2))
  })

  it('an ip6tables that does not work leaves the rules of IPv4 and the node in service', async () => {
    const bin = join(lab.folder, 'bin')
    await mkdir(bin)
    for (const name of ['ip6tables-nft-save', 'ip6tables-nft-restore']) {
      await writeFile(join(bin, name), '#!/bin/sh\necho "ip6tables: no such table" >&2; exit 3\n')
      await chmod(join(bin, name), 0o755)
    }
    await restart(h1, { args: ['--ip-masq'], env: { PATH: `${bin}:${process.env['PATH']}` } })
    await until(5_000, 'degraded', () => isDegraded(h1, /./))
    assert.match((await h1.exec(['iptables-nft-save', '-t', 'nat'])).stdout, /FLANNEL-POSTRTG/)
  })
})
