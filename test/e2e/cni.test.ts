import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { cniPlugins, needs } from '../needs.ts'
import { CniHost, flannelsConflist } from './cni-world.ts'
import { countInLog, knowsPeers, logsInFailure, ready, status, until } from './world.ts'

const dual = {
  Network: '10.5.0.0/16',
  SubnetMin: '10.5.100.0',
  EnableIPv6: true,
  IPv6Network: 'fc00::/48',
  Backend: { Type: 'vxlan' },
}
const lan = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2'] }

/** What is named or mended has this long; it is looked at every 5 s. */
const lookMs = 30_000

describe('CNI', function () {
  needs(this, 'netns', 'etcd', 'cni')
  this.timeout(240_000)
  let lab: Lab
  let h1: CniHost
  let h2: CniHost

  before(async () => {
    lab = await Lab.create({ segments: [lan], netConf: dual })
    ;[h1, h2] = await Promise.all([CniHost.open(lab.host('h1')), CniHost.open(lab.host('h2'))])
    await Promise.all([h1.start(), h2.start()])
    for (const each of lab.hosts) await knowsPeers(each, 1)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await h1?.close()
    await h2?.close()
    await lab?.close()
  })

  const conditions = async (): Promise<readonly { code: string; severity: string; text: string; remedy: string }[]> =>
    (await status(h1.host)).conditions.filter(({ code }: { code: string }) => code.startsWith('cni-'))
  const holds = async (code: string, text: RegExp, remedy: RegExp) =>
    await until(lookMs, `${code} is named`, async () => {
      const found = (await conditions()).find((one) => one.code === code)
      assert.match(found?.text ?? 'nothing', text)
      assert.match(found?.remedy ?? 'nothing', remedy)
    })
  const quiet = async () =>
    await until(lookMs, 'nothing is named', async () => assert.deepEqual(await conditions(), []))
  const file = (name: string) => join(h1.confDir, name)

  it('writes a conflist by which containers of two hosts reach each other in both families, at full MTU', async () => {
    const a = await h1.add('a')
    const b = await h2.add('b')
    const { subnets } = (await status(h1.host)).lease
    const own = [subnets.ipv4, subnets.ipv6].map((subnet) => ({ subnet }))
    assert.deepEqual(h1.conflist().plugins[0].ipam.ranges.flat(), own)
    assert.equal(statSync(h1.confFile).mode & 0o777, 0o600)
    const { mtu } = await h1.host.subnetEnv()
    assert.equal(b.addresses.length, 2)
    for (const address of b.addresses) {
      const size = mtu - (address.includes(':') ? 48 : 28)
      const ping = (bytes: number) => ['ping', '-c', '1', '-W', '2', '-M', 'do', '-s', String(bytes), address]
      await until(5_000, `${address} answers`, () => a.container.exec(ping(size)))
      await assert.rejects(a.container.exec(ping(size + 1)))
    }
    await h1.del('a')
    await h2.del('b')
    assert.deepEqual([await h1.reserved(), await h2.reserved()], [[], []])
    await quiet()
    assert.equal((await status(h1.host)).state, 'ok')
  })

  it('restores the conflist removed, edited, emptied, replaced by flannel’s, and with another mode', async () => {
    const text = readFileSync(h1.confFile, 'utf8')
    for (const hurt of [
      () => rmSync(h1.confFile),
      () => writeFileSync(h1.confFile, text.replace('"mtu": 1430', '"mtu": 9000')),
      () => writeFileSync(h1.confFile, ''),
      () => writeFileSync(h1.confFile, flannelsConflist(h1.host)),
      () => chmodSync(h1.confFile, 0o666),
      () => rmSync(h1.confDir, { recursive: true }),
    ]) {
      hurt()
      await until(2_000, hurt.toString(), async () => {
        assert.equal(readFileSync(h1.confFile, 'utf8'), text)
        assert.equal(statSync(h1.confFile).mode & 0o777, 0o600)
      })
    }
    assert.deepEqual(readdirSync(h1.confDir), ['10-flannel.conflist'])
  })

  it('keeps a plugin that another program appends again at each change, and restores its own part', async () => {
    // As istio-cni does: sorted keys, mode 0644, renamed into place, and once more whenever the file has changed without it.
    const istio = { log_level: 'info', type: 'istio-cni' }
    const temporary = join(h1.host.folder, 'istio.conflist')
    const types = () => h1.conflist().plugins.map(({ type }: { type: string }) => type)
    const append = () => {
      const { plugins, ...rest } = h1.conflist()
      const others = plugins.filter(({ type }: { type: string }) => type !== istio.type)
      writeFileSync(temporary, JSON.stringify({ plugins: [...others, istio], ...rest }))
      chmodSync(temporary, 0o644)
      renameSync(temporary, h1.confFile)
    }
    const before = readFileSync(h1.confFile, 'utf8')
    const repairs = async () => (await status(h1.host)).counters.driftRepaired.file ?? 0
    const repaired = await repairs()
    let rewrites = 0
    const watcher = watch(h1.confDir, () => {
      if (!existsSync(h1.confFile) || types().includes(istio.type)) return
      rewrites += 1
      append()
    })
    try {
      append()
      const theirs = readFileSync(h1.confFile, 'utf8')
      assert.match(theirs, /"mtu":1430/)
      // Nothing shall happen, for as long as a repair takes many times over.
      await systemClock.sleep(3_000, h1.host.signal)
      assert.equal(readFileSync(h1.confFile, 'utf8'), theirs)
      assert.equal(statSync(h1.confFile).mode & 0o777, 0o644)
      assert.deepEqual([await repairs(), rewrites], [repaired, 0])

      for (const mtu of [9000, 9001, 9002]) {
        writeFileSync(temporary, theirs.replace('"mtu":1430', `"mtu":${mtu}`))
        renameSync(temporary, h1.confFile)
        await until(2_000, 'the own part is restored', async () => {
          const { plugins } = h1.conflist()
          assert.deepEqual([plugins[0].mtu, plugins[2]], [1430, istio])
        })
      }
      // A change of our own keeps it as well.
      await h1.host.ip('link', 'set', 'eth0', 'mtu', '1400')
      await until(5_000, 'the MTU is followed', async () => assert.equal(h1.conflist().plugins[0].mtu, 1330))
      assert.deepEqual(types(), ['bridge', 'portmap', 'istio-cni'])
      await h1.host.ip('link', 'set', 'eth0', 'mtu', '1500')
      await until(5_000, 'and back', async () => assert.equal(h1.conflist().plugins[0].mtu, 1430))
      assert.equal(rewrites, 0)
      // Written again over and over: nobody fights.
      for (let round = 0; round < 60; round += 1) append()
      await systemClock.sleep(2_000, h1.host.signal)
      const { ready: isReady, notReady } = await status(h1.host)
      assert.deepEqual([isReady, notReady], [true, []])
      await quiet()
    } finally {
      watcher.close()
    }
    rmSync(h1.confFile)
    await until(2_000, 'restored', async () => assert.equal(readFileSync(h1.confFile, 'utf8'), before))
  })

  it('follows the MTU in one step, whatever moment the daemon is killed at', async () => {
    const setMtu = (mtu: number) => h1.host.ip('link', 'set', 'eth0', 'mtu', String(mtu))
    const written = () => JSON.parse(readFileSync(h1.confFile, 'utf8')).plugins[0].mtu
    for (let round = 0; round < 6; round += 1) {
      const mtu = round % 2 === 0 ? 1400 : 1500
      await setMtu(mtu)
      await systemClock.sleep(12 * round, h1.host.signal)
      h1.host.daemon?.kill('SIGKILL')
      await h1.host.daemon?.waitExit()
      // Whole, whichever of the two it is.
      assert.ok([1330, 1350, 1430, 1450].includes(written()), String(written()))
      await h1.start()
      await ready(h1.host)
      const expected = (await h1.host.subnetEnv()).mtu
      await until(5_000, 'the conflist follows', async () => assert.equal(written(), expected))
      assert.deepEqual(readdirSync(h1.confDir), ['10-flannel.conflist'])
    }
  })

  it('is not ready and lives on while the disk is full or read-only, and goes on when it is not', async () => {
    const text = readFileSync(h1.confFile, 'utf8')
    const fill = `mount -t tmpfs -o size=8k,mode=0755 tmpfs ${h1.confDir} && cd ${h1.confDir} && (dd if=/dev/zero of=fill bs=1k 2>/dev/null || true)`
    const readOnly = `mount -t tmpfs -o ro,mode=0755 tmpfs ${h1.confDir}`
    for (const [mount, code, remedy] of [
      [fill, 'ENOSPC', /free space on the file system of .*10-flannel\.conflist/],
      [readOnly, 'EROFS', /writable, or name another place by --cni-conf-file/],
    ] as const) {
      await h1.inside(mount)
      // The watch of the directory below hears nothing of that.
      await h1.host.ip('link', 'set', 'eth0', 'mtu', '1400')
      await until(lookMs, `${code} is named`, async () => {
        const { notReady, conditions } = await status(h1.host)
        assert.match(notReady.join('\n'), new RegExp(`^file .*10-flannel\\.conflist: ${code}`, 'm'))
        const found = conditions.find((one: { code: string }) => one.code.includes('10-flannel.conflist'))
        assert.match(found.remedy, remedy)
      })
      assert.equal(h1.host.daemon?.running, true)
      await h1.inside(`umount ${h1.confDir}`)
      await h1.host.ip('link', 'set', 'eth0', 'mtu', '1500')
      await until(40_000, 'ready again', async () => {
        assert.equal(readFileSync(h1.confFile, 'utf8'), text)
        assert.deepEqual((await status(h1.host)).notReady, [])
      })
    }
  })

  it('names missing and damaged plugins, restores them from --cni-plugins-from, and needs no write where they are', async () => {
    await h1.inside(`cd ${h1.binDir} && rm portmap loopback && : >bridge && chmod 644 host-local`)
    await holds(
      'cni-plugins',
      /bridge \(empty\), host-local \(not executable\), loopback \(missing\), portmap \(missing\)/,
      /containernetworking-plugins.*--cni-bin-dir.*--cni-plugins-from/,
    )
    await h1.host.daemon?.stop()
    const args = [...h1.args, `--cni-plugins-from=${cniPlugins}`]
    await h1.start({ args })
    const whole = () => h1.inside(`for f in ${cniPlugins}/*; do cmp $f ${h1.binDir}/\${f##*/}; done`)
    await until(lookMs, 'restored at the start', whole)
    await ready(h1.host)
    await h1.inside(`rm -r ${h1.binDir}`)
    await until(lookMs, 'restored after an upgrade of the system', whole)
    assert.equal(statSync(join(h1.binDir, 'portmap')).mode & 0o7777, 0o755)
    await quiet()
    await h1.add('p')
    await h1.del('p')

    await h1.inside(`mount --bind ${h1.binDir} ${h1.binDir} && mount -o remount,bind,ro ${h1.binDir}`)
    await h1.host.daemon?.stop()
    await h1.start({ args })
    await ready(h1.host)
    await quiet()
    await h1.inside(`umount ${h1.binDir} && mv ${h1.binDir}/portmap ${h1.binDir}/away`)
    await h1.inside(`mount --bind ${h1.binDir} ${h1.binDir} && mount -o remount,bind,ro ${h1.binDir}`)
    await holds('cni-plugins', /portmap \(missing; EROFS/, /let the daemon write in/)
    await h1.inside(`umount ${h1.binDir} && rm ${h1.binDir}/away`)
    await quiet()
  })

  it('names configurations of others that come first, have its name or an old subnet, and leaves them alone', async () => {
    const podman = '{"cniVersion":"0.4.0","name":"podman","plugins":[{"type":"bridge","bridge":"cni-podman0"}]}'
    const crio =
      '{"cniVersion":"0.3.1","name":"crio","type":"bridge","ipam":{"type":"host-local","subnet":"10.85.0.0/16"}}'
    writeFileSync(file('87-podman-bridge.conflist'), podman)
    writeFileSync(file('100-crio-bridge.conf'), crio)
    writeFileSync(file('05-note.txt'), 'no configuration')
    await h1.host.daemon?.stop()
    await h1.start()
    await ready(h1.host)
    await quiet()

    writeFileSync(file('10-containerd-net.conflist'), podman.replace('podman', 'containerd-net'))
    await holds('cni-config-first', /10-containerd-net\.conflist \(network "containerd-net"/, /\.off/)
    writeFileSync(file('05-broken.conflist'), '{"name":')
    await holds('cni-config-first', /05-broken\.conflist \(no network configuration.*, .*10-containerd-net/, /\.off/)
    const earlier =
      '{"name":"old","cniVersion":"0.3.1","plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.5.3.0/24"}]]}}]}'
    writeFileSync(file('30-old.conflist'), earlier)
    await holds(
      'cni-config-stale',
      /30-old\.conflist .*subnet 10\.5\.3\.0\/24.* leases 10\.5\.1\d\d\.0\/24/,
      /make its containers anew/,
    )
    writeFileSync(file('40-flannel.conflist'), flannelsConflist(h1.host))
    await holds(
      'cni-network-twice',
      /40-flannel\.conflist \(network "cbr0", plugins "flannel portmap"\)/,
      /--cni-network/,
    )
    assert.equal(readdirSync(h1.confDir).length, 8)
    for (const name of readdirSync(h1.confDir)) if (name !== '10-flannel.conflist') rmSync(file(name))
    await quiet()
  })

  it('repairs a bridge with an address of an earlier subnet, or names who is on record with it', async () => {
    const addresses = async () => await h1.inside('ip -4 -o address show dev cni0')
    const { container } = await h1.add('old')
    await h1.inside('ip address flush dev cni0 && ip address add 10.5.3.1/24 dev cni0')
    await h1.inside('cd /var/lib/cni/networks/cbr0 && printf "old\\r\\neth0" >10.5.3.9')
    // The plugin's own refusal, which is what this is about.
    await assert.rejects(h1.add('new'), /already has an IP address different from/)
    await h1.forget('new')
    await holds(
      'cni-bridge-address',
      /cni0 has 10\.5\.3\.1\/24, which is not of this node's subnet; on record with host-local: 10\.5\.3\.9 by old;/,
      /delete these containers.*\/var\/lib\/cni\/networks\/cbr0\//,
    )
    assert.match(await addresses(), /10\.5\.3\.1\/24/)
    await h1.inside('rm /var/lib/cni/networks/cbr0/10.5.3.9')
    await until(lookMs, 'repaired', async () => assert.doesNotMatch(await addresses(), /10\.5\.3\.1/))
    await quiet()
    assert.ok((await countInLog(h1.host, /address of an earlier subnet removed .*10\.5\.3\.1\/24/)) > 0)
    // Without waiting for the next container, whose plugin would bring it.
    const gateway = h1.conflist().plugins[0].ipam.ranges.flat()[0].subnet.replace('.0/24', '.1')
    await until(lookMs, 'the gateway is back', async () =>
      assert.equal((await container.ping(gateway, { count: 1 })).received, 1),
    )
    assert.ok((await countInLog(h1.host, /address of the bridge restored .*device=cni0/)) > 0)
    await h1.add('next')
    await h1.del('next')
    await h1.del('old')

    // What CRI-O's example has left, with nothing on it; with a container that nobody has on record it stays.
    await h1.inside('ip address flush dev cni0 && ip address add 10.85.0.1/16 dev cni0')
    await until(lookMs, 'repaired', async () => assert.doesNotMatch(await addresses(), /10\.85/))
    await h1.inside(
      'ip address flush dev cni0 && ip address add 10.85.0.1/16 dev cni0 && ip link add stray type veth peer name stray0 && ip link set stray master cni0',
    )
    await holds(
      'cni-bridge-address',
      /cni0 has 10\.85\.0\.1\/16/,
      /1 ports.*ip address delete 10\.85\.0\.1\/16 dev cni0/,
    )
    await h1.inside('ip link del stray')
    await quiet()
  })

  it('names a subnet whose addresses are nearly all on record', async () => {
    const subnet = (await status(h1.host)).lease.subnets.ipv4.replace('.0/24', '')
    await h1.inside(
      `mkdir -p /var/lib/cni/networks/cbr0 && cd /var/lib/cni/networks/cbr0 && for n in $(seq 2 240); do printf "gone$n\\r\\neth0" >${subnet}.$n; done`,
    )
    await holds('cni-addresses', /nearly all of the 253 addresses of .* containers that are gone/, /remove the files/)
    await h1.inside('rm -r /var/lib/cni/networks/cbr0')
    await quiet()
  })

  it('follows another lease, and removes the conflist of an earlier start with other options', async () => {
    await h1.host.daemon?.stop()
    const before = h1.conflist().plugins[0].ipam.ranges.flat()[0].subnet
    await lab.configure({ ...dual, SubnetMin: '10.5.10.0', SubnetMax: '10.5.20.0' })
    await h1.start()
    await ready(h1.host)
    const { subnets } = (await status(h1.host)).lease
    assert.notEqual(subnets.ipv4, before)
    assert.equal(h1.conflist().plugins[0].ipam.ranges.flat()[0].subnet, subnets.ipv4)
    await h1.add('x')
    await h1.del('x')

    await h1.host.daemon?.stop()
    const other = file('05-blue.conflist')
    await h1.start({ args: [...h1.args, `--cni-conf-file=${other}`, '--cni-network=blue'] })
    await until(lookMs, 'the former one is gone', async () =>
      assert.deepEqual(readdirSync(h1.confDir), ['05-blue.conflist']),
    )
    assert.match(JSON.parse(readFileSync(other, 'utf8')).plugins[0].bridge, /^cni-[0-9a-f]{8}$/)
    await h1.host.daemon?.stop()
    await h1.start({ args: [] })
    await until(lookMs, 'so is that one', async () => assert.deepEqual(readdirSync(h1.confDir), []))
  })
})
