import assert from 'node:assert/strict'
import { Lab } from '../../lab/lab.ts'
import { needs, peerProgram } from '../needs.ts'
import { furnish } from './service-host.ts'
import { ServiceManager } from './service-manager.ts'
import { knowsPeers, logsInFailure, oneSegment, startDaemon, vxlan } from './world.ts'

// As packages of Fedora and many guides have it.
const flannelsUnit = `[Unit]
After=network-online.target etcd.service
Before=docker.service
[Service]
Type=notify
EnvironmentFile=/etc/sysconfig/flanneld
ExecStart=/usr/bin/flanneld -etcd-endpoints=\${FLANNEL_ETCD_ENDPOINTS} -etcd-prefix=\${FLANNEL_ETCD_PREFIX} $FLANNEL_OPTIONS
Restart=on-failure
[Install]
WantedBy=multi-user.target
RequiredBy=docker.service
`

describe("a host with flannel's daemon in a unit as Fedora's", function () {
  needs(this, 'netns', 'etcd', 'systemd', 'peer:flanneld')
  this.timeout(180_000)
  let lab: Lab
  let manager: ServiceManager
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => {
    await manager?.halt()
    await lab?.close()
  })

  it('moves to this package and back with no packet lost and Docker untouched', async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlan })
    const peer = lab.host('h2')
    await startDaemon(peer)
    manager = await ServiceManager.boot(lab.host('h1'))
    await furnish(lab, manager)
    await manager.copy(peerProgram('peer:flanneld'), '/usr/bin/flanneld')
    await manager.sh('cat >/etc/systemd/system/flanneld.service', { input: flannelsUnit })
    await manager.sh(`chmod 755 /usr/bin/flanneld
      mkdir -p /etc/sysconfig
      printf 'FLANNEL_ETCD_ENDPOINTS=${lab.etcd.url}\\nFLANNEL_ETCD_PREFIX=/coreos.com/network\\n' >/etc/sysconfig/flanneld
      systemctl daemon-reload
      systemctl enable flanneld
      systemctl start docker`)
    await knowsPeers(peer, 1)
    const [dockersPid, flannelsPid] = [
      await manager.show('docker', 'MainPID'),
      await manager.show('flanneld', 'MainPID'),
    ]
    const subnet = /^FLANNEL_SUBNET=([\d.]+)\.1\//m.exec(await manager.sh('cat /run/flannel/subnet.env'))?.[1]
    const ping = peer.startPing(`${subnet}.0`)
    await ping.answered(AbortSignal.timeout(10_000))

    const { stdout } = await manager.exec(['dpkg', '-i', '/root/flanneld.deb'], { timeout: 60_000 })
    assert.match(stdout, /etc\/systemd\/system\/flanneld\.service hides the unit of this package/)
    assert.equal(await manager.show('flanneld', 'MainPID'), flannelsPid)

    await manager.sh(`systemctl disable flanneld
      mv /etc/systemd/system/flanneld.service /root/
      echo 'FLANNELD_ETCD_ENDPOINTS=${lab.etcd.url}' >>/etc/default/flanneld
      systemctl daemon-reload
      systemctl restart flanneld`)
    assert.match(await manager.sh('flanneld status --brief || true'), /^degraded|^ok|^ready/i)
    assert.match(await manager.show('flanneld', 'ExecMainPID'), /^[1-9]/)
    assert.equal(await manager.show('flanneld', 'FragmentPath'), '/lib/systemd/system/flanneld.service')
    assert.match(await manager.sh('ip route show table all'), /proto 102/)

    await manager.sh(`systemctl stop flanneld
      flanneld hand-over
      dpkg --purge flanneld
      mv /root/flanneld.service /etc/systemd/system/
      systemctl daemon-reload
      systemctl enable flanneld
      systemctl start flanneld`)
    assert.equal(await manager.show('flanneld', 'ActiveState'), 'active')
    assert.doesNotMatch(await manager.sh('ip route show table all'), /proto 102/)
    assert.equal((await ping.stop()).lost, 0)
    assert.equal(await manager.show('docker', 'MainPID'), dockersPid)
  })
})
