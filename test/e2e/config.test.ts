import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Outcome } from '../../lab/command.ts'
import type { DaemonOptions } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
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
  vxlan,
} from './world.ts'

const alloc = { ...vxlan, Backend: { Type: 'alloc' } }

describe('configuration', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let empty: readonly string[]

  before(async () => {
    // h1 has a foot in each segment.
    const segments = [...(oneSegment(1) ?? []), { name: 'lan2', subnet: '192.168.65.0/24', hosts: ['h1'] }]
    lab = await Lab.create({ segments })
    host = lab.host('h1')
    // iptables-nft makes a table with its first rule, and it stays.
    await host.exec(['sh', '-c', 'iptables -w -A FORWARD -j ACCEPT && iptables -w -D FORWARD -j ACCEPT'])
    empty = await networkOf(host)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await host.daemon?.stop()
    assert.equal((await flanneld(host, ['cleanup'])).code, 0)
    await lab.etcd.del('/', { prefix: true })
  })

  after(async () => {
    await lab?.close()
  })

  /** A start that must fail, and leave the host as it was. */
  const refused = async (options: DaemonOptions): Promise<Outcome> => {
    const outcome = await flanneld(host, [], options)
    assertSame(await networkOf(host), empty)
    // The log escapes quotes.
    return { ...outcome, stderr: outcome.stderr.replaceAll('\\"', '"') }
  }

  const badConfigs: readonly [config: unknown, says: RegExp][] = [
    ['no JSON', /etcd:\/coreos\.com\/network\/config: must be a JSON document/],
    ['[]', /must be a JSON object/],
    ['{"__proto__":{"Network":"10.5.0.0/16"}}', /Network: must be given when EnableIPv4 is true/],
    [{ ...vxlan, Network: '10.5.0.0' }, /Network: must be an IPv4 network .*got "10\.5\.0\.0"/],
    [{ ...vxlan, Network: 5 }, /Network: must be a string, got 5/],
    [{ ...vxlan, SubnetLen: 31 }, /SubnetLen: must be an integer from 0 to 30, got 31/],
    [{ ...vxlan, SubnetMin: '10.6.0.0' }, /SubnetMin: must lie inside 10\.5\.0\.0\/16, got "10\.6\.0\.0"/],
    [{ ...vxlan, EnableIPv4: false }, /EnableIPv4: at least one/],
    [{ ...vxlan, Backend: {} }, /Backend\.Type: must name a backend/],
    [{ ...vxlan, Backend: { Type: 'token-ring' } }, /Backend\.Type: must be one of .*vxlan.*got "token-ring"/],
    [{ ...vxlan, Backend: { Type: 'ipsec' } }, /Backend\.Type: exists only in flannel.*got "ipsec"/],
    [{ ...vxlan, Backend: { Type: 'vxlan', VNI: 2 ** 24 } }, /Backend\.VNI: .*from 1 to 16777215, got 16777216/],
    [{ ...vxlan, Backend: { Type: 'vxlan', MTU: 40 } }, /Backend\.MTU: must be from 118 to 65535.*got 40/],
    [
      { ...vxlan, EnableIPv6: true, IPv6Network: 'fc00::/48', Backend: { Type: 'vxlan', VNI: 10_000 } },
      /Backend\.VNI: must be at most 9999 .*flannel-v6\.10000 .*got 10000/,
    ],
    [{ ...vxlan, Network: '127.0.0.0/8' }, /Network: must not lie in 127\.0\.0\.0\/8/],
    [{ ...vxlan, Backend: { Type: 'vxlan', DirectRouting: 'yes' } }, /Backend\.DirectRouting: .*got "yes"/],
    [{ ...vxlan, Backend: { Type: 'vxlan', Port: -1 } }, /Backend\.Port: .*from 0 to 65535, got -1/],
  ]

  it('that is bad ends the start with 78, naming path, value and what was expected', async () => {
    for (const [config, says] of badConfigs) {
      await lab.configure(config)
      const { code, stderr } = await refused({})
      assert.equal(code, 78, `${JSON.stringify(config)}\n${stderr}`)
      assert.match(stderr, says)
    }
    assert.deepEqual(await lab.etcd.list(leasePrefix), [])
  })

  it('of what is not there yet ends the start with 78', async () => {
    await lab.configure({ ...vxlan, Backend: { Type: 'wireguard' } })
    const cases: readonly [DaemonOptions, RegExp][] = [
      [{}, /Backend\.Type: is not available yet.*got "wireguard"/],
      [{ args: ['--allow-extension'] }, /--allow-extension: not available yet/],
      [{ env: { FLANNELD_ALLOW_EXTENSION: 'true' } }, /FLANNELD_ALLOW_EXTENSION: not available yet/],
    ]
    for (const [options, says] of cases) {
      const { code, stderr } = await refused(options)
      assert.deepEqual([code, says.test(stderr)], [78, true], stderr)
    }
  })

  it('by flags that cannot be understood ends with 2, by unusable variables with 78', async () => {
    await lab.configure(alloc)
    const cases: readonly [DaemonOptions, code: number, RegExp][] = [
      [{ args: ['--etcd-endpoint=x'] }, 2, /flag provided but not defined: -etcd-endpoint/],
      [{ args: ['--ip-masq=maybe'] }, 2, /invalid value "maybe" for flag -ip-masq/],
      [{ args: ['--ip-masq', 'false'] }, 2, /unexpected argument false: .*--ip-masq=false/],
      [{ args: ['--healthz-port=65536'] }, 2, /--healthz-port: must be an integer from 0 to 65535, got 65536/],
      [{ args: ['-subnet-lease-renew-margin', '0'] }, 2, /--subnet-lease-renew-margin: .*from 1 to 1439, got 0/],
      [{ env: { FLANNELD_PUBLIC_IP: '10.0.0.256' } }, 78, /FLANNELD_PUBLIC_IP: must be an IPv4 address/],
    ]
    for (const [options, wanted, says] of cases) {
      const { code, stderr } = await refused(options)
      assert.deepEqual([code, says.test(stderr)], [wanted, true], stderr)
    }
    const version = await refused({ args: ['-version'] })
    assert.deepEqual([version.code, version.stdout], [0, ''])
    assert.match(version.stderr, /^\d+\.\d+\.\d+\n$/)
    const help = await refused({ args: ['--help'] })
    assert.deepEqual([help.code, help.stdout], [0, ''])
    assert.match(help.stderr, /etcd-endpoints/)
  })

  it('by variables counts where no flag was given; one that cannot be read is named and ignored', async () => {
    await lab.configure(alloc, '/by/flag')
    const env = {
      FLANNELD_ETCD_PREFIX: '/by/variable',
      FLANNELD_IFACE: 'eth1',
      FLANNELD_HEALTHZ_PORT: 'many',
      FLANNELD_PUBLIC_IP: '',
      FLANNELD_LOG_FORMAT: 'json',
    }
    await startDaemon(host, { args: ['-etcd-prefix', '/by/flag/'], env })
    await ready(host)
    assert.equal((await status(host)).external.interface, 'eth1')
    const lines = ((await host.daemon?.logText()) ?? '').split('\n').filter((line) => line.startsWith('{'))
    const [warning] = lines.map((line) => JSON.parse(line)).filter(({ warning }) => warning !== undefined)
    assert.match(warning.warning, /FLANNELD_HEALTHZ_PORT was ignored, "many" must be an integer/)
    assert.equal((await lab.etcd.list('/by/flag/subnets/')).length, 1)
    // Another prefix is another instance, so it needs a clean-up of its own.
    await host.daemon?.stop()
    assert.equal((await flanneld(host, ['cleanup'], { args: ['-etcd-prefix', '/by/flag/'] })).code, 0)
  })

  const first = '192.168.64.11'
  const second = '192.168.65.11'
  const choices: readonly [args: readonly string[], device: string, publicIp: string, reason: RegExp][] = [
    [[], 'eth0', first, /default route/],
    [['--iface=eth1'], 'eth1', second, /is its name/],
    [[`--iface=${second}`], 'eth1', second, /is its address/],
    [['--iface=nosuch', '--iface=eth1', '--iface=eth0'], 'eth1', second, /--iface=eth1/],
    [['--iface-regex=^192\\.168\\.65\\.'], 'eth1', second, /matches its address/],
    [['--iface-regex=h1$'], 'eth1', second, /matches its name/],
    [['--iface-regex=eth0', '--iface=eth1'], 'eth1', second, /--iface=eth1/],
    [['--iface-can-reach=192.168.65.1'], 'eth1', second, /route to 192\.168\.65\.1/],
    [[`--public-ip=${second}`], 'eth1', second, /public address/],
    [['--public-ip=203.0.113.5', '--iface=eth1'], 'eth1', '203.0.113.5', /--iface=eth1/],
  ]

  for (const [args, device, publicIp, reason] of choices) {
    it(`by ${args.join(' ') || 'nothing'} takes ${device} and publishes ${publicIp}`, async () => {
      await lab.configure(alloc)
      await startDaemon(host, { args })
      await ready(host)
      const { external } = await status(host)
      assert.deepEqual([external.interface, external.publicIps], [device, { ipv4: publicIp }])
      assert.match(external.reason, reason)
      const [lease] = await lab.etcd.list(leasePrefix)
      assert.equal(JSON.parse(lease?.value ?? '').PublicIP, publicIp)
    })
  }

  it('by an interface that is not there ends with 1 and says what there is', async () => {
    await lab.configure(alloc)
    for (const args of [['--iface=nosuch'], ['--iface-regex=^wlan'], ['--public-ip=203.0.113.5']]) {
      const { code, stderr } = await refused({ args })
      assert.equal(code, 1, stderr)
      assert.match(stderr, /no interface fits .*; this host has .*eth0 \(192\.168\.64\.11.*eth1 \(192\.168\.65\.11/)
    }
    await lab.configure({ ...vxlan, Backend: { Type: 'host-gw' } })
    const foreign = await refused({ args: ['--public-ip=203.0.113.5', '--iface=eth0'] })
    assert.equal(foreign.code, 78, foreign.stderr)
    assert.match(foreign.stderr, /public-ip: must be an address of this host when Backend\.Type is host-gw/)
  })

  it('is waited for; a change is named, garbage is no harm, the last good one stays (row 27)', async () => {
    await startDaemon(host)
    const conditions = async () =>
      (await status(host)).conditions.filter(({ severity }: { severity: string }) => severity !== 'info')
    const shows = async (codes: readonly string[], text: RegExp) =>
      await until(5_000, codes.join(), async () => {
        const now: { code: string; text: string }[] = await conditions()
        assert.deepEqual(now.map(({ code }) => code).sort(), codes)
        assert.match(now.map((each) => each.text).join('\n'), text)
      })
    await shows(['config-missing'], /no network configuration at etcd:\/coreos\.com\/network\/config, waiting for it/)

    await lab.etcd.putAll([1, 2].map((n) => strangerLease(n)))
    await lab.configure({ ...vxlan, SubnetLenght: 24 })
    await knowsPeers(host, 2)
    assert.match((await host.daemon?.logText()) ?? '', /SubnetLenght: unknown key; the nearest known key is SubnetLen/)
    const running = await networkOf(host)

    await lab.configure({ ...vxlan, Backend: { Type: 'alloc' } })
    await shows(['config-restart-needed'], /Backend\.Type vxlan -> alloc/)
    assert.deepEqual([(await status(host)).state, (await status(host)).ready], ['degraded', true])
    await lab.configure('garbage')
    await shows(['config-invalid', 'config-restart-needed'], /the last good one stays: .*must be a JSON document/)
    await lab.configure({ ...vxlan, Backend: { Type: 'vxlan', MTU: 40 } })
    await shows(['config-invalid', 'config-restart-needed'], /the last good one stays: Backend\.MTU: .* got 40/)
    await lab.etcd.del('/coreos.com/network/config')
    await until(5_000, 'missing', async () =>
      assert.ok((await conditions()).some(({ code }: { code: string }) => code === 'config-missing')),
    )
    assert.equal(host.daemon?.running, true)
    await lab.configure({ ...vxlan, SubnetLenght: 24 })
    await shows([], /^$/)
    assertSame(await networkOf(host), running)
  })

  it('changed before a restart leaves nothing of the one before', async () => {
    await lab.etcd.putAll([1, 2].map((n) => strangerLease(n)))
    await lab.configure(vxlan)
    await startDaemon(host)
    await knowsPeers(host, 2)
    const { text } = await host.subnetEnv()
    const restart = async (config: unknown) => {
      await host.daemon?.stop()
      await lab.configure(config)
      await startDaemon(host)
      await ready(host)
    }

    await restart({ ...vxlan, Backend: { Type: 'vxlan', VNI: 7, Port: 4789 } })
    await until(10_000, 'only flannel.7', async () => {
      const devices = (await host.ipJson('link', 'show', 'type', 'vxlan')).map(({ ifname }) => ifname)
      assert.deepEqual(devices, ['flannel.7'])
    })
    assert.equal((await host.subnetEnv()).text, text)

    await restart({ ...vxlan, Backend: { Type: 'host-gw' } })
    await until(10_000, 'no device', async () => assert.deepEqual(await overlayOf(host), []))
    assert.equal((await host.subnetEnv()).text, text.replace('1450', '1500'))

    await restart({ ...vxlan, Network: '10.9.0.0/16' })
    await until(10_000, 'nothing in the old network', async () =>
      assert.deepEqual(
        (await networkOf(host)).filter((line) => line.includes('10.5.')),
        [],
      ),
    )
    assert.match((await host.subnetEnv()).text, /^FLANNEL_NETWORK=10\.9\.0\.0\/16\nFLANNEL_SUBNET=10\.9\./)
  })

  it('of a second instance that would share a device or a network with the first is refused', async () => {
    await lab.configure(vxlan)
    await startDaemon(host)
    await ready(host)
    const running = await networkOf(host)
    const cases: readonly [config: unknown, says: RegExp][] = [
      [{ ...vxlan, Backend: { Type: 'vxlan', VNI: 2 } }, /10\.5\.0\.0\/16/],
      [{ ...vxlan, Network: '10.4.0.0/15', Backend: { Type: 'host-gw' } }, /10\.5\.0\.0\/16/],
      [{ ...vxlan, Network: '10.6.0.0/16' }, /flannel\.1/],
    ]
    for (const [config, says] of cases) {
      await lab.configure(config, '/other')
      const args = [
        '--etcd-prefix=/other',
        `--subnet-file=${join(host.folder, 'other.env')}`,
        `--status-socket=${join(host.folder, 'other.sock')}`,
      ]
      const { code, stderr } = await flanneld(host, [], { args })
      assert.equal(code, 78, `${JSON.stringify(config)}\n${stderr}`)
      assert.match(stderr, says)
      assert.match(stderr, new RegExp(`another flanneld on this host \\(pid ${host.daemon?.pid}, etcd prefix /coreos`))
      assertSame(await networkOf(host), running)
    }
    assert.deepEqual(await lab.etcd.list('/other/subnets/'), [])
  })
})
