import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * What a machine must offer for a test to run. The peers are real programs of others to test against, found only by the
 * variables of `peers`; `REQUIRE=etcd,peer:flanneld` makes it a failure when one is absent.
 */
export type Capability =
  | 'root'
  | 'netns'
  | 'etcd'
  | 'vm'
  | 'docker'
  | 'firewalld'
  | 'cluster'
  | 'cni'
  | 'packaging'
  | 'systemd'
  | `peer:${string}`
  | `node:${string}`

const peers: Readonly<Record<string, string>> = {
  'peer:flanneld': 'FLANNELD_PEER',
  'peer:flannel-cni': 'FLANNEL_CNI',
  'peer:kube-apiserver': 'KUBE_APISERVER',
  'peer:kube-controller-manager': 'KUBE_CONTROLLER_MANAGER',
  'peer:kube-proxy': 'KUBE_PROXY',
  'peer:kube-scheduler': 'KUBE_SCHEDULER',
  'peer:kubectl': 'KUBECTL',
  'peer:kubelet': 'KUBELET',
  'peer:helm': 'HELM',
  'peer:etcd-3.6': 'ETCD_36',
  'peer:etcd-3.7': 'ETCD_37',
}

/** What `scripts/ensure.mjs nodes` puts into .tools/: the oldest that `engines` allows, and the newest of each later line. */
export const nodeVersions: readonly string[] = JSON.parse(
  readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'),
).config.testedNodes.split(' ')

/** Where Debian has the CNI plugins. */
export const cniPlugins = '/usr/lib/cni'

const nodes = nodeVersions.map((version) => `node:${version}` as const)
export const capabilities: readonly Capability[] = [
  'root',
  'netns',
  'etcd',
  'vm',
  'docker',
  'firewalld',
  'cluster',
  'cni',
  'packaging',
  'systemd',
  ...nodes,
  ...Object.keys(peers).map((peer) => peer as `peer:${string}`),
]

/** Why the tests of a mocha suite did not run; `scripts/test/report.ts` reads it when they turn up as pending. */
export interface NotRun {
  readonly lacking: Capability
  readonly reason: string
}
export const notRun = Symbol.for('flanneld.not-run')

/**
 * Skips all tests of a `describe` on a machine that lacks something, and says why at the end of the run:
 * `describe('a mixed cluster', function () { needs(this, 'netns', 'peer:flanneld') ... })`
 */
export function needs(suite: Mocha.Suite, ...wanted: readonly Capability[]): void {
  suite.beforeAll(function () {
    for (const lacking of wanted) {
      const reason = whyAbsent(lacking)
      if (reason === undefined) continue
      Object.assign(suite, { [notRun]: { lacking, reason } satisfies NotRun })
      this.skip()
    }
  })
}

/** The path of a peer program; throws unless the test said that it `needs` it. */
export function peerProgram(capability: `peer:${string}`): string {
  const absent = whyAbsent(capability)
  if (absent !== undefined) throw new Error(absent)
  return process.env[peers[capability] ?? ''] ?? ''
}

/** Where `.tools/` has that Node, whether it is there or not. */
export function nodeProgram(version: string): string {
  const folder = join(import.meta.dirname, '../.tools', `node-${version}`)
  return join(folder, `node_modules/node-linux-${process.arch}/bin/node`)
}

/** Undefined when the machine has it. */
export function whyAbsent(capability: Capability): string | undefined {
  if (capability === 'root') return process.geteuid?.() === 0 ? undefined : 'not root'
  if (capability === 'netns') return whyAbsent('root') ?? whyNoNamespaces()
  if (capability === 'etcd') return inPath('etcd') ? undefined : 'no etcd in PATH (Debian: etcd-server)'
  if (capability === 'vm') return whyNoMachine()
  if (capability === 'docker') return whyMissing(['dockerd', 'containerd', 'busybox'], 'docker.io, busybox-static')
  if (capability === 'cni') {
    const missing = ['bridge', 'host-local', 'loopback', 'portmap', 'ptp'].find(
      (name) => !executable(join(cniPlugins, name)),
    )
    return missing && `no ${missing} in ${cniPlugins} (Debian: containernetworking-plugins)`
  }
  if (capability === 'firewalld')
    return whyMissing(['firewalld', 'firewall-cmd', 'dbus-daemon'], 'firewalld, dbus-daemon')
  if (capability === 'cluster') return whyAbsent('netns') ?? whyNoCluster()
  if (capability === 'packaging') return whyMissing(['dpkg-deb', 'systemd-analyze', 'man'], 'dpkg, systemd, man-db')
  if (capability === 'systemd') return whyAbsent('root') ?? whyAbsent('packaging') ?? whyNoServiceManager()
  if (capability.startsWith('node:')) return whyNoNode(capability.slice('node:'.length))
  const variable = peers[capability]
  if (variable === undefined) return `nothing is known about ${capability}`
  const program = process.env[variable]
  if (program === undefined || program === '') return `${variable} is not set`
  return executable(program) ? undefined : `${variable}=${program} is not an executable file`
}

function whyNoNode(version: string): string | undefined {
  const program = nodeProgram(version)
  return executable(program) ? undefined : `${program} is missing (node scripts/ensure.mjs nodes)`
}

function whyNoMachine(): string | undefined {
  const missing = ['qemu-system-x86_64', 'busybox', 'cpio', 'setpriv'].find((program) => !inPath(program))
  if (missing !== undefined) return `no ${missing} in PATH (Documentation/lab-vm.md names the Debian packages)`
  const kernels = join(import.meta.dirname, '../.tools/vm')
  return existsSync(kernels) ? undefined : 'no kernel in .tools/vm (npm run vm -- --fetch)'
}

/** What `test/e2e/service-manager.ts` mounts. */
function whyNoServiceManager(): string | undefined {
  const script = `t=$(mktemp -d) && trap 'umount "$t"; rmdir "$t"' EXIT && mount -t cgroup2 cgroup2 "$t" && umount "$t" &&
    mount -t tmpfs tmpfs "$t" && mkdir "$t/up" "$t/work" "$t/root" &&
    mount -t overlay -o "lowerdir=/,upperdir=$t/up,workdir=$t/work" overlay "$t/root" && umount "$t/root"`
  const { status, stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', script], { encoding: 'utf8' })
  return status === 0 ? undefined : `no second root for a systemd of its own (${stderr.trim()})`
}

function whyNoCluster(): string | undefined {
  const missing = whyMissing(
    ['containerd', 'runc', 'busybox', 'gcc', 'openssl'],
    'containerd, runc, busybox-static, gcc',
  )
  if (missing !== undefined) return missing
  const files = ['/usr/lib/cni/bridge', '/usr/include/stdio.h', '/sys/fs/cgroup/memory/cgroup.procs']
  const absent = files.find((file) => !existsSync(file))
  return absent && `no ${absent} (Debian: containernetworking-plugins, libc6-dev; cgroups of version 1)`
}

function whyMissing(programs: readonly string[], packages: string): string | undefined {
  const missing = programs.find((program) => !inPath(program))
  return missing === undefined ? undefined : `no ${missing} in PATH (Debian: ${packages})`
}

function whyNoNamespaces(): string | undefined {
  const { status, error } = spawnSync('unshare', ['--net', 'true'])
  return status === 0
    ? undefined
    : `network namespaces cannot be made here (${error?.message ?? `exit code ${status}`})`
}

function inPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => executable(join(folder, program)))
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
