// Plain JavaScript without dependencies, for ensure.mjs: installs Debian packages, and nothing more than that. Debian starts
// a service when its package is installed, and at each boot from then on: a Docker or a firewalld that nobody asked for closes
// ports of this host and drops what it forwards.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

/** Debian package -> what it would start. The tests start these programs themselves, in namespaces. */
const services = {
  'etcd-server': ['etcd.service'],
  'docker.io': ['docker.service', 'docker.socket', 'containerd.service'],
  containerd: ['containerd.service'],
  firewalld: ['firewalld.service'],
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
const quietInstall = ['install', '-y', '-qq', '-o', 'Dpkg::Use-Pty=0', '--no-install-recommends']
const policyFile = '/usr/sbin/policy-rc.d'
const mark = '# flanneld: scripts/debian.mjs'
/** Ends with its maker, so that one that was killed leaves nothing that counts. */
const policy = `#!/bin/sh\n${mark}\n[ -d /proc/${process.pid} ] && exit 101\nexit 0\n`

/** Whether apt-get has done it; what it says goes to standard error. */
export function installPackages(packages) {
  const before = new Set(Object.keys(services).filter(isInstalled))
  // apt-get is interrupted with us; what is put away behind it must not be skipped.
  const keep = () => {}
  for (const signal of signals) process.on(signal, keep)
  const isOurs = forbidServices()
  try {
    return aptGet(['update', '-qq']) && aptGet([...quietInstall, ...packages])
  } finally {
    for (const name of Object.keys(services)) if (!before.has(name) && isInstalled(name)) disable(services[name])
    if (isOurs) rmSync(policyFile, { force: true })
    for (const signal of signals) process.off(signal, keep)
  }
}

function aptGet(args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  return spawnSync('apt-get', args, { env, stdio: ['ignore', 2, 2] }).status === 0
}

/** A policy of this machine's owner stays; it is asked instead of ours. */
function forbidServices() {
  if (existsSync(policyFile) && !readFileSync(policyFile, 'utf8').includes(mark)) return false
  writeFileSync(policyFile, policy, { mode: 0o755 })
  return true
}

function isInstalled(name) {
  const { stdout } = spawnSync('dpkg', ['--status', name], { encoding: 'utf8' })
  return stdout?.includes('\nStatus: install ok installed\n') === true
}

function disable(units) {
  // Without systemd there is nothing to disable.
  spawnSync('systemctl', ['disable', '--quiet', ...units], { stdio: 'ignore' })
}
