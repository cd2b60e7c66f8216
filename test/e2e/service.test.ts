import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { furnish } from './service-host.ts'
import { ServiceManager } from './service-manager.ts'
import { knowsPeers, logsInFailure, oneSegment, startDaemon, steady, until, vxlan } from './world.ts'

/** Longer than the unit allows for a start where there is time, else longer than three seconds. */
const late = long ? 100_000 : 5_000
const startLimit = long ? '' : 'TimeoutStartSec=3\\n'

/** The Debian package under a real systemd, in namespaces; beside it a host with a daemon of the lab's. Each test goes on where the last one ended. */
describe('the package under systemd', function () {
  needs(this, 'netns', 'etcd', 'systemd')
  this.timeout(long ? 300_000 : 180_000)
  let lab: Lab
  let peer: Host
  let manager: ServiceManager
  let mainPid = ''

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlan })
    peer = lab.host('h2')
    await startDaemon(peer)
    await peer.subnetEnv()
    manager = await ServiceManager.boot(lab.host('h1'))
    await furnish(lab, manager)
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    if (this.currentTest?.state === 'failed')
      process.stdout.write(
        await manager.sh('systemctl status --no-pager -n 30 flanneld docker flanneld-docker-options || true'),
      )
  })
  after(async () => {
    await manager?.halt()
    await lab?.close()
  })

  const install = () => manager.exec(['dpkg', '-i', '/root/flanneld.deb'], { timeout: 60_000 })
  const isUp = async () => assert.equal(await manager.show('flanneld', 'ActiveState'), 'active')
  const pid = () => manager.show('flanneld', 'MainPID')
  const subnet = async () => /^FLANNEL_SUBNET=([\d.]+)\.1\//m.exec(await manager.sh('cat /run/flannel/subnet.env'))?.[1]

  it('is installed and starts nothing', async () => {
    const { stdout } = await install()
    assert.match(stdout, /write its options to \/etc\/default\/flanneld, then: systemctl enable --now flanneld/)
    assert.equal(await manager.show('flanneld', 'ActiveState'), 'inactive')
    assert.match(await manager.sh('flanneld version'), /^\d+\.\d+\.\d+\n$/)
  })

  it('keeps Docker from starting without a subnet, and says why', async () => {
    await manager.sh(`mkdir /etc/systemd/system/docker.service.d
      ln -s /usr/lib/flanneld/docker.service.conf /etc/systemd/system/docker.service.d/flanneld.conf
      echo 'DOCKER_OPTS="--debug"' >/etc/default/docker
      # So it fails at once.
      echo 'FLANNELD_PUBLIC_IP=nonsense' >>/etc/default/flanneld
      systemctl daemon-reload`)
    await manager.exec(['systemctl', 'start', 'docker'], { anyCode: true })
    await until(10_000, 'it failed', async () => assert.equal(await manager.show('docker', 'ActiveState'), 'failed'))
    assert.equal(await manager.show('flanneld', 'ExecMainStatus'), '78')
    const said = await manager.sh('/usr/lib/flanneld/check-docker-opts.sh 2>&1 || true')
    assert.match(said, /^Docker is not started: .*subnet\.env is not there, flanneld has no subnet yet \(it is failed/)
  })

  it('is given a key for etcd that it could not read itself', async () => {
    const drop = '/run/systemd/system/flanneld.service.d/key.conf'
    await manager.sh(`mkdir -p /etc/etcd-keys /run/systemd/system/flanneld.service.d
      cd /etc/etcd-keys
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=h1 -keyout key -out cert 2>/dev/null
      chown nobody key && chmod 600 key
      sed -i '/nonsense/d' /etc/default/flanneld
      cat >${drop} <<END
[Service]
LoadCredential=key:/etc/etcd-keys/key
Environment=FLANNELD_ETCD_KEYFILE=%d/key FLANNELD_ETCD_CERTFILE=/etc/etcd-keys/cert
Environment=FLANNELD_ETCD_ENDPOINTS=https://127.0.0.1:2379
END
      systemctl daemon-reload
      systemctl start --no-block flanneld`)
    // As far as it gets without a server: the key is loaded before.
    await until(10_000, 'it tries to connect', async () =>
      assert.match(await manager.show('flanneld', 'StatusText'), /127\.0\.0\.1:2379: connect ECONNREFUSED/),
    )
    await manager.sh(`systemctl stop flanneld; rm ${drop}`)
  })

  it('waits for etcd for longer than a start may take', async () => {
    await lab.etcd.crash()
    await manager.sh(`mkdir -p /run/systemd/system/flanneld.service.d
      printf '[Service]\\n${startLimit}WatchdogSec=6\\n' >/run/systemd/system/flanneld.service.d/times.conf
      printf 'FLANNELD_ETCD_ENDPOINTS=${lab.etcd.url}\\nFLANNELD_IP_MASQ=true\\n' >>/etc/default/flanneld
      systemctl daemon-reload
      systemctl enable flanneld
      systemctl start --no-block flanneld`)
    await until(10_000, 'it starts', async () => assert.notEqual(await pid(), '0'))
    mainPid = await pid()
    assert.equal(await steady(late, () => manager.show('flannel', 'ActiveState')), 'activating')
    assert.match(await manager.show('flanneld', 'StatusText'), /^not ready: /)
    await lab.etcd.start()
    await until(30_000, 'it is up', isUp)
    assert.equal(await pid(), mainPid)
    await knowsPeers(peer, 1)
  })

  it('lacks nothing in what its unit leaves it', async () => {
    const { conditions, notReady } = JSON.parse(await manager.sh('flanneld status -o json || true'))
    assert.deepEqual([conditions.map(({ code }: { code: string }) => code), notReady], [['etcd-in-clear'], []])
    assert.match(await manager.sh('iptables-save -t nat; nft list ruleset'), /masquerade/i)
  })

  it('starts the Docker that had to wait, with the subnet and what the operator wants', async () => {
    await until(10_000, 'Docker is up', async () => assert.equal(await manager.show('docker', 'ActiveState'), 'active'))
    const network = await subnet()
    await until(5_000, 'its command line', async () =>
      assert.equal(
        await manager.sh('cat /run/dockerd'),
        `-H fd:// --debug --bip=${network}.1/24 --ip-masq=false --mtu=1450\n`,
      ),
    )
  })

  it('is killed and started again when it stands still, and traffic goes on', async () => {
    const ping = peer.startPing(`${await subnet()}.0`)
    await manager.exec(['kill', '-STOP', mainPid])
    await until(30_000, 'it was started again', async () => {
      assert.equal(await manager.show('flanneld', 'NRestarts'), '1')
      await isUp()
    })
    assert.equal((await ping.stop()).lost, 0)
    assert.notEqual(await pid(), mainPid)
    mainPid = await pid()
  })

  it('is stopped, and Docker goes on', async () => {
    const before = await manager.show('docker', 'MainPID')
    const ping = peer.startPing(`${await subnet()}.0`)
    await manager.sh('systemctl stop flanneld')
    assert.equal(await manager.show('flanneld', 'ActiveState'), 'inactive')
    await manager.sh('systemctl start flanneld')
    await until(30_000, 'it is up', isUp)
    mainPid = await pid()
    assert.equal((await ping.stop()).lost, 0)
    assert.deepEqual(
      [await manager.show('docker', 'MainPID'), await manager.show('docker', 'ActiveState')],
      [before, 'active'],
    )
  })

  it('is upgraded with no packet lost and Docker untouched, even where another package made Docker require it', async () => {
    await manager.sh(`mkdir /etc/systemd/system/docker.service.requires
      ln -s /usr/lib/systemd/system/flanneld.service /etc/systemd/system/docker.service.requires/
      systemctl daemon-reload
      echo '# mine' >>/etc/default/flanneld`)
    const before = await manager.show('docker', 'MainPID')
    const ping = peer.startPing(`${await subnet()}.0`)
    await install()
    await until(30_000, 'another process', async () => {
      assert.ok(!['0', mainPid].includes(await pid()))
      await isUp()
    })
    assert.equal((await ping.stop()).lost, 0)
    assert.equal(await manager.show('docker', 'MainPID'), before)
    assert.equal(await manager.show('docker', 'ActiveState'), 'active')
    assert.match(await manager.sh('cat /etc/default/flanneld'), /^# mine$/m)
  })

  it('is removed without a packet lost', async () => {
    const ping = peer.startPing(`${await subnet()}.0`)
    await manager.exec(['dpkg', '--remove', 'flanneld'], { timeout: 60_000 })
    assert.equal(await manager.show('flanneld', 'MainPID'), '0')
    assert.equal((await ping.stop()).lost, 0)
  })

  it('is purged with all that it has made', async () => {
    await manager.sh('rm -r /run/systemd/system/flanneld.service.d /etc/systemd/system/docker.service.requires')
    await manager.exec(['dpkg', '--purge', 'flanneld'], { timeout: 60_000 })
    const left = await manager.sh(`ip -o link show | grep flannel || true
      ip route show table all | grep -E 'flannel|proto 102' || true
      nft list ruleset | grep -i flannel || true
      find /etc /run /usr /var -xdev -name '*flannel*' ! -path '/var/lib/dpkg/*' ! -path '/var/cache/*' ! -path '/usr/share/doc/*'`)
    assert.equal(left, '')
    assert.equal(await manager.sh('ls /run/docker_opts.env 2>/dev/null || true'), '')
    await manager.exec(['systemctl', 'restart', 'docker'])
    await until(5_000, 'Docker starts without it', async () =>
      assert.equal(await manager.sh('cat /run/dockerd'), '-H fd:// --debug\n'),
    )
  })
})
