// Plain JavaScript without dependencies: this runs first in a fresh clone, when nothing is installed yet.
//   node scripts/ensure.mjs npm             node_modules fits package-lock.json
//   node scripts/ensure.mjs npm tools       ... and the Debian programs that tests, demo and benchmarks drive are there
//   node scripts/ensure.mjs npm tools build ... and dist/ is newer than the sources
//   node scripts/ensure.mjs nodes           the Node versions that dist/ is tested with lie in .tools/
//   node scripts/ensure.mjs packaging       what makes a Debian package is there
//   node scripts/ensure.mjs service         ... and systemd, which judges its units and runs them in a test
//   node scripts/ensure.mjs docker          Debian's dockerd and firewalld are there; they are started by tests only
//   node scripts/ensure.mjs image           what goes into the container image is there
//   node scripts/ensure.mjs cluster         ... and containerd and what a node of a Kubernetes cluster needs beside it
//   node scripts/ensure.mjs npm vm          what lab/vm boots is there: qemu, and Debian's kernel in .tools/
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { installPackages } from './debian.mjs'

const root = join(import.meta.dirname, '..')

/** program, or path of a file -> Debian package; a package is installed when it is missing. */
const tools = {
  ip: 'iproute2',
  ping: 'iputils-ping',
  nft: 'nftables',
  iptables: 'iptables',
  sysctl: 'procps',
  nsenter: 'util-linux',
  etcd: 'etcd-server',
  etcdctl: 'etcd-client',
  openssl: 'openssl',
  iperf3: 'iperf3',
}

/** The same, for `npm run package`. */
const packagingTools = {
  'dpkg-deb': 'dpkg',
}

/** The same, for the tests of what that makes. */
const serviceTools = {
  ...packagingTools,
  'systemd-analyze': 'systemd',
  man: 'man-db',
}

/** The same, for the virtual machine. */
const machineTools = {
  'qemu-system-x86_64': 'qemu-system-x86',
  busybox: 'busybox-static',
  cpio: 'cpio',
  depmod: 'kmod',
  setpriv: 'util-linux',
  xz: 'xz-utils',
  // kube-proxy by IPVS.
  ipset: 'ipset',
}

/** The same, for the suite `docker`. */
const dockerTools = {
  dockerd: 'docker.io',
  busybox: 'busybox-static',
  firewalld: 'firewalld',
  'dbus-daemon': 'dbus-daemon',
}

/** The same, for `npm run image`. */
const imageTools = {
  nft: 'nftables',
  iptables: 'iptables',
  '/usr/lib/cni/bridge': 'containernetworking-plugins',
}

/** The same, for the suite `cluster`. */
const clusterTools = {
  ...imageTools,
  containerd: 'containerd',
  runc: 'runc',
  busybox: 'busybox-static',
  gcc: 'gcc',
  '/usr/include/stdio.h': 'libc6-dev',
}

const steps = {
  npm: ensureNpm,
  tools: ensureTools,
  build: ensureBuild,
  packaging: () => installIfPossible(packagingTools, 'no Debian package'),
  service: () => installIfPossible(serviceTools, 'no test of units and packages'),
  nodes: ensureNodes,
  docker: ensureDocker,
  vm: ensureMachine,
  image: () => installIfPossible(imageTools, 'no container image'),
  cluster: () => installIfPossible(clusterTools, 'no Kubernetes cluster'),
}

ensureNode()
for (const name of process.argv.slice(2)) {
  const step = steps[name]
  if (step === undefined) fail(`unknown step ${name}; there are ${Object.keys(steps).join(', ')}`)
  step()
}

function ensureNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Node 20.19 or newer is needed, this is ${process.versions.node}`)
}

function ensureNpm() {
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const installed = packagesOf(join(root, 'node_modules/.package-lock.json'))
  // Compared by version, not by time: npm writes the lock after node_modules, and git sets times of its own.
  const differs = Object.entries(wanted).some(
    ([path, { version, optional }]) => path !== '' && !optional && installed[path]?.version !== version,
  )
  if (differs) run('npm', ['ci'])
}

function packagesOf(lockFile) {
  return existsSync(lockFile) ? JSON.parse(readFileSync(lockFile, 'utf8')).packages : {}
}

function ensureTools() {
  const missing = missingPackages(tools)
  if (missing.length === 0) return
  if (process.getuid() !== 0) {
    say(`missing: ${missing.join(' ')} (not root, so not installed); run: sudo apt-get install ${missing.join(' ')}`)
    return
  }
  if (!found('apt-get'))
    fail(`missing programs of the Debian packages ${missing.join(' ')}, and there is no apt-get here`)
  const command = `apt-get install ${missing.join(' ')}`
  say(command)
  if (!installPackages(missing)) fail(`${command} failed`)
}

function missingPackages(programs) {
  return [...new Set(Object.keys(programs).filter((program) => !found(program)))].map((program) => programs[program])
}

function found(program) {
  if (program.startsWith('/')) return existsSync(program)
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin']
  return folders.some((folder) => executable(join(folder, program)))
}

function executable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function ensureBuild() {
  const built = join(root, 'dist/flanneld')
  const sources = [
    'flanneld',
    'backends',
    'subnet',
    'kernel',
    'lib',
    'scripts/bundle',
    'scripts/build.ts',
    'package.json',
    'package-lock.json',
  ]
  const newest = Math.max(...sources.map((source) => newestTime(join(root, source))))
  if (!existsSync(built) || statSync(built).mtimeMs < newest)
    run(join(root, 'node_modules/.bin/tsx'), ['scripts/build.ts'])
}

function ensureNodes() {
  const { config } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const version of config.testedNodes.split(' ')) {
    const folder = join(root, '.tools', `node-${version}`)
    if (existsSync(join(folder, 'node_modules'))) continue
    // No failure when it cannot be had: the tests with that version then say that they did not run.
    const command = [
      'install',
      '--prefix',
      folder,
      '--no-save',
      '--no-package-lock',
      `node-linux-${process.arch}@${version}`,
    ]
    say(`npm ${command.join(' ')}`)
    spawnSync('npm', command, { cwd: '/', stdio: ['ignore', 2, 2] })
  }
}

function ensureDocker() {
  installIfPossible(dockerTools, 'no Docker')
}

function ensureMachine() {
  if (!installIfPossible(machineTools, 'no virtual machine')) return
  spawnSync('node', ['--import', 'tsx', 'lab/vm/main.ts', '--fetch'], { cwd: root, stdio: ['ignore', 2, 2] })
}

/** What cannot be had is no failure here: the tests that need it then say that they did not run. */
function installIfPossible(programs, what) {
  const missing = missingPackages(programs)
  if (missing.length === 0) return true
  const command = `apt-get install ${missing.join(' ')}`
  if (process.getuid() !== 0 || !found('apt-get')) {
    say(`${what}; it needs: ${command}`)
    return false
  }
  say(command)
  installPackages(missing)
  return true
}

function newestTime(path) {
  if (!existsSync(path)) return 0
  const found = statSync(path)
  if (!found.isDirectory()) return found.mtimeMs
  return Math.max(found.mtimeMs, ...readdirSync(path).map((name) => newestTime(join(path, name))))
}

function run(program, args) {
  say(`${program} ${args.join(' ')}`)
  // Progress goes to standard error: standard output belongs to the command that asked.
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (error !== undefined) fail(`${program}: ${error.message}`)
  if (status !== 0) fail(`${program} ended with exit code ${status}`)
}

function say(text) {
  process.stderr.write(`[ensure] ${text}\n`)
}

function fail(text) {
  say(text)
  process.exit(1)
}
