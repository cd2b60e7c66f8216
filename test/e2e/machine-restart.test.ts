import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../../lab/command.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'

const root = join(import.meta.dirname, '../..')

// The host's uplink, a peer at its other end in a namespace, and a disk below Docker, whose overlays cannot lie on the root's.
const network = `
mkdir -p /var/lib/docker /mnt/disk
mount /dev/vda /mnt/disk
mkdir -p /mnt/disk/docker
mount --bind /mnt/disk/docker /var/lib/docker
ip netns add peer
ip link add eth0 type veth peer name eth0 netns peer
ip address add 192.168.64.11/24 dev eth0
ip link set eth0 up
ip -n peer address add 192.168.64.12/24 dev eth0
ip -n peer link set eth0 up
ip -n peer link set lo up
ip route add default via 192.168.64.12
ip -n peer route add default via 192.168.64.11
`
const unit = (text: string) => `${text}\n[Install]\nWantedBy=multi-user.target\n`
const units: Readonly<Record<string, string>> = {
  lan: unit(`[Unit]
Before=etcd-of-test.service flanneld.service containerd.service docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec '. /etc/lan'`),
  'etcd-of-test': unit(`[Service]
Type=notify
ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd-of-test --listen-client-urls=http://192.168.64.11:2379 --advertise-client-urls=http://192.168.64.11:2379
Restart=always`),
  peer: unit(`[Unit]
After=lan.service
[Service]
RuntimeDirectory=peer
ExecStart=/usr/sbin/ip netns exec peer /usr/sbin/flanneld --etcd-endpoints=http://192.168.64.11:2379 --subnet-file=/run/peer/subnet.env --state-dir=/var/lib/peer --status-socket=/run/peer/sock --ip-masq
Restart=always`),
}

const say = `
echo "== docker options"; cat /run/docker_opts.env
echo "== node"; cat /var/lib/flannel/node-id
echo "== device"; cat /sys/class/net/flannel.ipip/mtu
echo "== bridge"; ip -4 -o address show docker0 | grep -o '10[^ ]*' | head -1
echo "== end"`

const untilTrue = (seconds: number, command: string) => `
n=0; until ${command}; do
  n=$((n + 1)); [ $n -lt ${seconds} ] || { echo "not in time: ${command.replaceAll('"', "'")}"; systemctl --no-pager status flanneld docker | tail -60; exit 1; }
  sleep 1
done`

const pings = `
address=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' c1)
${untilTrue(60, 'ip netns exec peer ping -c 3 -W 2 -M do -s 1452 "$address"')}`

const install = (deb: string) => `set -e
command -v node >/dev/null || ln -s ${process.execPath} /usr/local/bin/node
cp /run/units/* /etc/systemd/system/
cp /run/lan /etc/lan
rm -f /etc/systemd/system/docker.service /usr/local/bin/docker
mkdir -p /etc/docker
echo '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}' >/etc/docker/daemon.json
systemctl daemon-reload
systemctl start lan
dpkg -i ${deb}
printf 'FLANNELD_ETCD_ENDPOINTS=http://192.168.64.11:2379\\nFLANNELD_IP_MASQ=true\\n' >>/etc/default/flanneld
systemctl enable flanneld
systemctl start --no-block flanneld
# Later than the 90 s that a start may take.
sleep 100
test "$(systemctl is-active flanneld)" = activating
test "$(systemctl show --value -p NRestarts flanneld)" = 0
systemctl start etcd-of-test
ETCDCTL_API=3 etcdctl --endpoints=http://192.168.64.11:2379 put /coreos.com/network/config '{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}'
${untilTrue(120, 'systemctl -q is-active flanneld')}
mkdir -p /etc/systemd/system/docker.service.d
ln -s /usr/lib/flanneld/docker.service.conf /etc/systemd/system/docker.service.d/flanneld.conf
systemctl daemon-reload
systemctl enable lan etcd-of-test peer docker
systemctl start flanneld docker peer
mkdir -p /tmp/image/bin
cp "$(command -v busybox)" /tmp/image/bin/
ln -s busybox /tmp/image/bin/sleep
tar -C /tmp/image -c . | docker import - busybox
docker run -d --restart=always --name c1 busybox sleep 86400
${pings}
${say}`

/** Nothing is started here: all that comes back does so by itself. */
const afterBoot = (deb: string) => `set -e
${untilTrue(240, 'test "$(docker inspect -f {{.State.Running}} c1 2>/dev/null)" = true')}
systemctl is-active flanneld docker
${pings}
${say}
pids() { systemctl show --value -p MainPID docker; docker inspect -f '{{.State.Pid}}' c1; }
before=$(pids)
main=$(systemctl show --value -p MainPID flanneld)
another() { now=$(systemctl show --value -p MainPID flanneld); [ "$now" != 0 ] && [ "$now" != "$main" ] && systemctl -q is-active flanneld; }
untouched() { test "$(pids)" = "$before"; main=$(systemctl show --value -p MainPID flanneld); ${pings}
}
systemctl restart flanneld
another
untouched
echo "== restarted"
kill -STOP "$main"
${untilTrue(120, 'another')}
untouched
echo "== watchdog"
mkdir -p /etc/systemd/system/docker.service.requires
ln -s /usr/lib/systemd/system/flanneld.service /etc/systemd/system/docker.service.requires/
systemctl daemon-reload
dpkg -i ${deb}
${untilTrue(120, 'another')}
untouched
echo "== upgraded"`

/** A machine of its own, its kernel and systemd as the first process, is switched off and on again; what it wrote lies on a disk. */
if (long)
  describe('a machine that is started again', function () {
    needs(this, 'vm', 'etcd', 'docker', 'packaging')
    this.timeout(2_400_000)
    let folder = ''
    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'flanneld-machine-'))
      execFileSync('sh', ['-ec', 'truncate -s 2G "$1"; mke2fs -qt ext4 "$1"', 'sh', join(folder, 'disk')])
      execFileSync(process.execPath, ['--import', 'tsx', 'scripts/package.ts', folder], { cwd: root })
    })
    after(() => folder !== '' && rmSync(folder, { recursive: true, force: true }))

    const boot = async (name: string, script: string) => {
      const file = join(folder, name)
      writeFileSync(file, script)
      const machine = [process.execPath, '--import', 'tsx', join(root, 'lab/vm/main.ts'), '--minutes', '18']
      const log = join(folder, `${name}.log`)
      const { code } = await run(
        [
          'sh',
          '-c',
          'exec "$@" >"$0" 2>&1',
          log,
          ...machine,
          '--systemd',
          '--disk',
          join(folder, 'disk'),
          '--',
          'sh',
          '-e',
          file,
        ],
        { timeout: 1_140_000, anyCode: true, env: { PATH: process.env['PATH'] ?? '' } },
      )
      const text = readFileSync(log, 'utf8').replaceAll('\r', '')
      assert.equal(code, 0, text.slice(-6_000))
      return text
    }
    const said = (text: string, begin: string, end: string) =>
      text.slice(text.lastIndexOf(`== ${begin}`), text.lastIndexOf(`== ${end}`))

    it('has the same subnet and its containers, by itself; restart, watchdog and upgrade leave them alone', async () => {
      const files = Object.entries(units).map(
        ([name, text]) => `cat >/run/units/${name}.service <<'UNIT'\n${text}UNIT\n`,
      )
      const put = `mkdir -p /run/units\n${files.join('')}cat >/run/lan <<'LAN'\n${network}LAN\n`
      const deb = readdirSync(folder).find((file) => file.endsWith('.deb')) ?? ''
      const first = await boot('first', `${put}${install(join(folder, deb))}`)
      const second = await boot('second', afterBoot(join(folder, deb)))
      const before = said(first, 'docker options', 'end')
      assert.match(before, /--bip=10\.5\.\d+\.1\/24/)
      assert.equal(said(second, 'docker options', 'end'), before)
      assert.match(second, /^== upgraded$/m)
    })
  })
