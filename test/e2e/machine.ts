import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../../lab/command.ts'

const root = join(import.meta.dirname, '../..')
const etcd = 'http://192.168.64.11:2379'

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
const units = (peersProgram: string): Readonly<Record<string, string>> => ({
  lan: unit(`[Unit]
Before=etcd-of-test.service flanneld.service containerd.service docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec '. /etc/lan'`),
  'etcd-of-test': unit(`[Service]
Type=notify
ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd-of-test --listen-client-urls=${etcd} --advertise-client-urls=${etcd}
Restart=always`),
  peer: unit(`[Unit]
After=lan.service
[Service]
RuntimeDirectory=peer
ExecStart=/usr/sbin/ip netns exec peer ${peersProgram} --etcd-endpoints=${etcd} --subnet-file=/run/peer/subnet.env --state-dir=/var/lib/peer --status-socket=/run/peer/sock --ip-masq
Restart=always`),
})

/** Lines of a script: the machine's node, network and units. `peersProgram`: the daemon of the host at the uplink's other end. */
export function furnished({ peersProgram }: { readonly peersProgram: string }): string {
  const files = Object.entries(units(peersProgram)).map(
    ([name, text]) => `cat >/etc/systemd/system/${name}.service <<'UNIT'\n${text}UNIT\n`,
  )
  return `set -e
command -v node >/dev/null || ln -s ${process.execPath} /usr/local/bin/node
${files.join('')}cat >/etc/lan <<'LAN'
${network}LAN
rm -f /etc/systemd/system/docker.service /usr/local/bin/docker
mkdir -p /etc/docker
echo '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}' >/etc/docker/daemon.json
systemctl daemon-reload
systemctl start lan
`
}

export const etcdOfTest = etcd

export const configured = `
ETCDCTL_API=3 etcdctl --endpoints=${etcd} put /coreos.com/network/config '{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}'
`

/** A container \`c1\`, of an image of this machine's files, which Docker starts whenever it starts itself. */
export const container = `
mkdir -p /tmp/image/bin
cp "$(command -v busybox)" /tmp/image/bin/
ln -s busybox /tmp/image/bin/sleep
tar -C /tmp/image -c . | docker import - busybox
docker run -d --restart=always --name c1 busybox sleep 86400
`

export const untilTrue = (seconds: number, command: string) => `
n=0; until ${command}; do
  n=$((n + 1)); [ $n -lt ${seconds} ] || { echo "not in time: ${command.replaceAll('"', "'")}"; systemctl --no-pager status flanneld docker | tail -60; exit 1; }
  sleep 1
done`

/** Full packets from the peer into the container. */
export const pings = `
address=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' c1)
${untilTrue(60, 'ip netns exec peer ping -c 3 -W 2 -M do -s 1452 "$address"')}`

/** A machine that can be switched on again and again, its kernel and systemd as the first process: what it wrote lies on a disk. */
export class Machine {
  readonly folder: string
  /** The Debian package, made now. */
  readonly deb: string

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'flanneld-machine-'))
    execFileSync('sh', ['-ec', 'truncate -s 2G "$1"; mke2fs -qt ext4 "$1"', 'sh', join(this.folder, 'disk')])
    execFileSync(process.execPath, ['--import', 'tsx', 'scripts/package.ts', this.folder], { cwd: root })
    this.deb = join(this.folder, readdirSync(this.folder).find((file) => file.endsWith('.deb')) ?? '')
  }

  /** From power on to power off: runs the script as a service beside those that are enabled, and returns what it said. */
  async boot(name: string, script: string): Promise<string> {
    const file = join(this.folder, name)
    writeFileSync(file, script)
    const log = `${file}.log`
    const program = [process.execPath, '--import', 'tsx', join(root, 'lab/vm/main.ts'), '--minutes', '40']
    const machine = [...program, '--systemd', '--disk', join(this.folder, 'disk'), '--', 'sh', '-e', file]
    const { code } = await run(['sh', '-c', 'exec "$@" >"$0" 2>&1', log, ...machine], {
      timeout: 2_460_000,
      anyCode: true,
      env: { PATH: process.env['PATH'] ?? '' },
    })
    const text = readFileSync(log, 'utf8').replaceAll('\r', '')
    assert.equal(code, 0, text.slice(-6_000))
    return text
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** What stands between two lines that a script has printed last. */
export function said(text: string, begin: string, end: string): string {
  return text.slice(text.lastIndexOf(`== ${begin}`), text.lastIndexOf(`== ${end}`))
}
