import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Lab } from '../../lab/lab.ts'
import { furnish } from '../e2e/service-host.ts'
import { ServiceManager } from '../e2e/service-manager.ts'
import { logsInFailure, oneSegment, until } from '../e2e/world.ts'
import { needs } from '../needs.ts'

const page = readFileSync(join(import.meta.dirname, '../../Documentation/two-hosts-with-docker.md'), 'utf8')

/** The commands of the page, in order. */
const commands = [...page.matchAll(/```console\n([\s\S]*?)```/g)].flatMap(([, block = '']) =>
  [...block.matchAll(/^(h[12])# (.*)$/gm)].map(([, host = '', line = '']) => ({ host, line })),
)

// Docker's files need a file system that overlays may lie on. The image is on this machine instead of in a registry.
const prepare = `
rm -f /etc/systemd/system/docker.service /usr/local/bin/docker
mkdir -p /var/lib/docker /etc/docker /tmp/image/bin
mount -t tmpfs tmpfs /var/lib/docker
echo '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}' >/etc/docker/daemon.json
cp "$(command -v busybox)" /tmp/image/bin/
for name in ping sleep; do ln -sf busybox /tmp/image/bin/$name; done
systemctl daemon-reload
systemctl restart docker
tar -C /tmp/image -c . | docker import - busybox`

describe('the page of two hosts with Docker', function () {
  needs(this, 'netns', 'etcd', 'docker', 'systemd')
  this.timeout(480_000)
  let lab: Lab
  const managers = new Map<string, ServiceManager>()
  let addressThere = ''

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2) })
    for (const host of lab.hosts) {
      const manager = await ServiceManager.boot(host)
      managers.set(host.label, manager)
      await furnish(lab, manager)
      const [packed = ''] = readdirSync(lab.folder).filter((name) => name.endsWith('.deb'))
      await manager.sh(`mv /root/flanneld.deb /root/${packed}; hostname ${host.label}`)
      await manager.sh(prepare, { timeout: 60_000 })
    }
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => {
    for (const manager of managers.values()) {
      await manager.exec(['sh', '-c', 'docker rm -f c1 c2; systemctl stop docker.socket docker containerd'], {
        anyCode: true,
      })
      await manager.halt()
    }
    await lab?.close()
  })

  const at = (host: string): ServiceManager => {
    const manager = managers.get(host)
    assert.ok(manager)
    return manager
  }
  /** The page has addresses and a version of its own. */
  const asHere = (line: string) =>
    line
      .replace(/10\.5\.96\.2/, addressThere)
      .replace(/flanneld_[\w.]+\.deb/, readdirSync(lab.folder).find((name) => name.endsWith('.deb')) ?? '')

  it('has commands that work as they stand, down to the ping', async () => {
    assert.ok(commands.length > 20)
    for (const { host, line } of commands) {
      const stdout = await at(host).sh(`cd /root; ${asHere(line)}`, { timeout: 60_000 })
      if (line.includes('docker inspect')) addressThere = stdout.trim()
      if (line.includes(' ping ')) assert.match(stdout, / 0% packet loss/, `${line}\n${stdout}`)
      if (line.startsWith('flanneld check')) assert.doesNotMatch(stdout, /^(warn|fail)/m)
    }
    assert.match(addressThere, /^10\.5\.\d+\.2$/)
    // What is not on the page: what etcd's host sees, and that nobody finds anything to say.
    for (const host of ['h1', 'h2']) {
      assert.match(await at(host).sh('flanneld status'), /^state +ok$/m)
      assert.match(
        await at(host).sh('flanneld check --etcd-endpoints=http://192.0.2.10:2379'),
        /and with the leased subnet$/m,
      )
    }
  })

  it('and after a restart of the machine, of which the disk is kept, all is there again', async () => {
    const [host] = lab.hosts
    assert.ok(host)
    const before = await at('h1').sh('cat /run/docker_opts.env /var/lib/flannel/node-id')
    const disk = join(host.folder, 'disk.tar')
    await at('h1').exec(['sh', '-c', 'docker rm -f c1; systemctl stop docker.socket docker containerd'])
    await at('h1').saveDisk(disk)
    await at('h1').halt()
    // What a kernel that starts has.
    await host.exec([
      'sh',
      '-c',
      'ip link del flannel.1; ip link del docker0; ip nexthop flush; nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward',
    ])
    const manager = await ServiceManager.boot(host)
    managers.set('h1', manager)
    await manager.restoreDisk(disk)
    await manager.sh(
      `rm -f /usr/local/bin/docker; command -v node || ln -s ${process.execPath} /usr/local/bin/node
       mkdir -p /var/lib/docker; mount -t tmpfs tmpfs /var/lib/docker; systemctl daemon-reload`,
    )
    // As the boot starts what is enabled: Docker waits for the daemon, and for the options.
    await manager.sh('systemctl start docker flanneld', { timeout: 90_000 })
    assert.equal(await manager.sh('cat /run/docker_opts.env /var/lib/flannel/node-id'), before)
    assert.match(await manager.sh('tr "\\0" " " </proc/$(cat /run/docker.pid)/cmdline'), / --bip=10\.5\.\d+\.1\/24 /)
    await manager.sh('tar -C /tmp/image -c . | docker import - busybox; docker run -d --name c1 busybox sleep 86400')
    await until(20_000, 'it pings', async () =>
      assert.match(await manager.sh(`docker exec c1 ping -c 1 -W 1 ${addressThere}`), / 0% packet loss/),
    )
  })
})
