import assert from 'node:assert/strict'
import { join } from 'node:path'
import { builtDaemon } from '../../lab/daemon.ts'
import { long } from '../long.ts'
import { needs, peerProgram } from '../needs.ts'
import { configured, container, etcdOfTest, furnished, Machine, pings, said } from './machine.ts'
import { assertSame } from './world.ts'

const optionsScript = join(import.meta.dirname, '../../packaging/docker/mk-docker-opts.sh')

// As Fedora's package has them, but for the program's place in docker.service, which is Debian's.
const files: Readonly<Record<string, string>> = {
  '/etc/systemd/system/flanneld.service': `[Unit]
Description=Flanneld overlay address etcd agent
After=network.target
After=network-online.target
Wants=network-online.target
After=etcd.service
Before=docker.service
[Service]
Type=notify
EnvironmentFile=/etc/sysconfig/flanneld
EnvironmentFile=-/etc/sysconfig/docker-network
ExecStart=/usr/bin/flanneld-start $FLANNEL_OPTIONS
ExecStartPost=/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker
Restart=on-failure
# Emulated, and beside other work, everything takes long.
TimeoutStartSec=600
[Install]
WantedBy=multi-user.target
RequiredBy=docker.service
`,
  '/etc/sysconfig/flanneld': `FLANNEL_ETCD_ENDPOINTS="${etcdOfTest}"
FLANNEL_ETCD_PREFIX="/coreos.com/network"
FLANNEL_OPTIONS="-ip-masq"
`,
  '/usr/bin/flanneld-start': `#!/bin/sh
exec /usr/bin/flanneld -etcd-endpoints=\${FLANNEL_ETCD_ENDPOINTS:-\${FLANNEL_ETCD}} -etcd-prefix=\${FLANNEL_ETCD_PREFIX:-\${FLANNEL_ETCD_KEY}} "$@"
`,
  '/etc/systemd/system/docker.service.d/flannel.conf': `[Service]
EnvironmentFile=-/run/flannel/docker
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_NETWORK_OPTIONS
`,
}
const fedora = (flannel: string) => `
mkdir -p /etc/sysconfig /usr/libexec/flannel /etc/systemd/system/docker.service.d
cp ${flannel} /usr/bin/flanneld
cp ${optionsScript} /usr/libexec/flannel/
${Object.entries(files)
  .map(([name, text]) => `cat >${name} <<'FILE'\n${text}FILE\n`)
  .join('')}
chmod 755 /usr/bin/flanneld /usr/bin/flanneld-start
systemctl daemon-reload
systemctl enable flanneld
systemctl restart docker
systemctl is-active flanneld`

const fedoraIsGone = `
rm -r /root/flanneld.service /etc/sysconfig /usr/libexec/flannel /usr/bin/flanneld /usr/bin/flanneld-start
rm /etc/systemd/system/docker.service.d/flannel.conf /run/flannel/docker`

// Documentation/systemd.md, "From another unit of flannel's"; the two drop-ins are those of its last row.
const move = `
systemctl disable flanneld
mv /etc/systemd/system/flanneld.service /root/
printf 'FLANNELD_ETCD_ENDPOINTS=${etcdOfTest}\\nFLANNEL_OPTIONS="-ip-masq"\\n' >>/etc/default/flanneld
systemctl daemon-reload
systemctl restart flanneld
systemctl enable flanneld`
const dockersWords = '-k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker'
const dropIns = `
# As systemctl edit names them: that of Docker has to come after flanneld.conf, whose check it replaces.
mkdir -p /etc/systemd/system/flanneld-docker-options.service.d
printf '[Service]\\nExecStart=\\nExecStart=/usr/lib/flanneld/mk-docker-opts.sh ${dockersWords}\\n' >/etc/systemd/system/flanneld-docker-options.service.d/override.conf
ln -s /usr/lib/flanneld/docker.service.conf /etc/systemd/system/docker.service.d/flanneld.conf
printf '[Service]\\nExecStartPre=\\nExecStartPre=/usr/lib/flanneld/check-docker-opts.sh ${dockersWords}\\n' >/etc/systemd/system/docker.service.d/override.conf
systemctl daemon-reload
systemctl restart docker`
const noDropIns = `
rm -r /etc/systemd/system/flanneld-docker-options.service.d /etc/systemd/system/docker.service.d/override.conf`

const back = (purge: string) => `
systemctl disable --now flanneld
flanneld hand-over
${purge}
mv /root/flanneld.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable flanneld
systemctl start flanneld
systemctl is-active flanneld`

// What the host has of files, of the kernel's network and of units, but for what is Docker's. The disk has all that was written since it
// is new, and no other file; a folder of which it has a copy counts where nothing is in it. Left out: what other programs write (containerd
// makes an empty /etc/cni/net.d).
const helpers = `
written() {
  ( cd /mnt/disk/changed; find . ! -type d )
  ( cd /mnt/disk/changed; find . -type d -print0 ) | ( cd /; xargs -0 sh -c 'find "$@" -maxdepth 0 -type d -empty' sh )
  find /run -mindepth 1 | grep -Ev '^/run/(systemd|docker|containerd|vm|peer|netns|log|credentials|lock|user)([/.-]|$)'
}
network() {
  ip -o link show | sed -e 's/^[0-9]*: //' -e 's/[:@].*//' -e 's/^/device /'
  for family in -4 -6; do ip $family route show table all; ip $family rule; done | grep -Ev 'fe80:|ff00:'
  ip nexthop
  for program in iptables-nft ip6tables-nft; do $program-save | grep -v '^#' | sed 's/ \\[[0-9:]*\\]$//'; done
  nft list tables
  cat /proc/net/ip_tables_names 2>/dev/null | sed 's/^/legacy /'
  sysctl -a --pattern '^net\\.ipv[46]\\.conf\\.(all|default|lo|eth0|tunl0)\\.(rp_filter|accept_ra|disable_ipv6)' 2>/dev/null
}
docker='docker|DOCKER|veth|^:(INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING) |^[*](filter|nat)$|^COMMIT$|^table ip (filter|nat)$'
units() { systemctl list-unit-files --no-legend 'flannel*'; systemctl list-units --all --no-legend 'flannel*'; }
here() {
  written | grep -Ev '^\\./(mnt|root|tmp|etc/docker|etc/cni/net\\.d$|var/(log|cache|tmp|lib/(apt|dpkg|docker|containerd|systemd|etcd-of-test|peer|PackageKit)))(/|$)'
  network | grep -Ev "$docker"
  units
}
pids() { systemctl show --value -p MainPID docker; docker inspect -f '{{.State.Pid}}' c1; }
flannels() { systemctl show -p FragmentPath --value flanneld; ip route show | grep -o 'dev flannel.ipip.*'; }
say() { echo "== $1"; }
`
const script = (deb: string) => `${furnished({ peersProgram: builtDaemon })}
${helpers}
# The kernel keeps a module, and the device that comes with it, until the next boot.
modprobe ipip
systemctl start etcd-of-test
${configured}
systemctl start peer
say before
here | sort
say fedora
${fedora(peerProgram('peer:flanneld'))}
${container}
${pings}
flannels
cat /run/flannel/docker
pids >/run/vm-pids
ip netns exec peer ping -i 0.5 "$address" >/run/vm-ping &
ping=$!
say installed
main=$(systemctl show --value -p MainPID flanneld)
dpkg -i ${deb}
test "$(systemctl show --value -p MainPID flanneld)" = "$main"
say moved
${move}
flannels
say handed-over
${back('dpkg --purge flanneld')}
flannels
kill -INT $ping
wait $ping || true
say lost
cat /run/vm-ping
pids | diff /run/vm-pids - && echo "the same processes"
say again
dpkg -i ${deb}
${move}
systemctl restart flanneld
pids | diff /run/vm-pids - && echo "the same processes"
${dropIns}
${pings}
tr '\\0' '\\n' <"/proc/$(pids | head -1)/cmdline"
flanneld check --etcd-endpoints=${etcdOfTest} || true
say purged
systemctl stop docker.socket docker
${noDropIns}
${fedoraIsGone}
apt-get purge -y flanneld
say after
here | sort
say end`

// iptables has it for its own lock, and it ends with the boot; flanneld's unit makes it so that nobody but root can hold it.
const stays = /^\/run\/xtables\.lock$/

if (long)
  describe("a machine with flannel's daemon in Fedora's unit, and real Docker", function () {
    needs(this, 'vm', 'etcd', 'docker', 'packaging', 'peer:flanneld')
    this.timeout(2_700_000)
    let machine: Machine | undefined
    let text = ''
    before(async () => {
      machine = new Machine()
      text = await machine.boot('moves', script(machine.deb))
    })
    after(() => machine?.remove())
    const part = (begin: string, end: string) => said(text, begin, end)

    it('moves to this package and back: no packet lost, Docker and its container untouched', () => {
      assert.match(part('fedora', 'installed'), /--bip=10\.5\.\d+\.1\/24 --ip-masq=false --mtu=1480/)
      assert.doesNotMatch(part('fedora', 'installed'), /proto 102/)
      assert.match(part('installed', 'moved'), /etc\/systemd\/system\/flanneld\.service hides the unit of this package/)
      const moved = part('moved', 'handed-over')
      assert.match(moved, /^\/lib\/systemd\/system\/flanneld\.service$/m)
      assert.match(moved, /dev flannel\.ipip proto 102/)
      const handedOver = part('handed-over', 'lost')
      assert.match(handedOver, /^\/etc\/systemd\/system\/flanneld\.service$/m)
      assert.match(handedOver, /dev flannel\.ipip/)
      assert.doesNotMatch(handedOver, /proto 102/)
      const answered = [...part('lost', 'again').matchAll(/icmp_seq=(\d+)/g)].map(([, sequence]) => Number(sequence))
      assert.ok(answered.length > 50)
      assert.deepEqual(
        answered,
        answered.map((_, n) => n + (answered[0] ?? 0)),
      )
      assert.match(part('lost', 'again'), /^the same processes$/m)
    })

    it("keeps the file and the variable of Fedora's Docker", () => {
      const again = part('again', 'purged')
      assert.match(again, /^the same processes$/m)
      assert.match(again, /^--bip=10\.5\.\d+\.1\/24$/m)
      assert.match(again, /^ok +docker-options .*and with the leased subnet$/m)
    })

    it('has nothing left of it after apt purge', () => {
      const lines = (of: string) => of.split('\n').filter((line) => !line.startsWith('== ') && !stays.test(line))
      const [before, after] = [lines(part('before', 'fedora')), lines(part('after', 'end'))]
      assert.ok(before.length > 40)
      assertSame(after, before)
    })
  })
