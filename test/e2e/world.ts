import assert from 'node:assert/strict'
import { request } from 'node:http'
import { env } from 'node:process'
import type { Outcome } from '../../lab/command.ts'
import type { DaemonOptions } from '../../lab/daemon.ts'
import { builtDaemon, daemonCommand } from '../../lab/daemon.ts'
import type { KeyValue } from '../../lab/etcd.ts'
import type { Host } from '../../lab/host.ts'
import type { Lab, LabOptions } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import { until } from '../until.ts'

export { steady, until } from '../until.ts'

/** What is tested: the build, or another program that takes the same flags. */
export const daemonProgram = env['FLANNELD_PROGRAM'] || builtDaemon

export const leasePrefix = '/coreos.com/network/subnets/'
export const vxlan = { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' } }
/** Hosts get no subnet below 10.5.100.0, so that a test may put leases of strangers there. */
export const vxlanFrom100 = { ...vxlan, SubnetMin: '10.5.100.0' }

/** The daemon looks every 5 s at what its ingress guard has counted. */
export const lookedMs = 15_000

/** Hosts h1, h2, ... on one L2 segment, 192.168.64.0/24 from .11 on. */
export function oneSegment(hosts: number): LabOptions['segments'] {
  return [{ name: 'lan1', subnet: '192.168.64.0/24', hosts: Array.from({ length: hosts }, (_, n) => `h${n + 1}`) }]
}

/** h1 and h2 beside each other, h3 behind a router. */
export const twoSegments: LabOptions['segments'] = [
  ...oneSegment(2),
  { name: 'lan2', subnet: '192.168.65.0/24', hosts: ['h3'] },
]

export async function startDaemon(host: Host, options: DaemonOptions = {}): Promise<Program> {
  return await host.startDaemon({ program: daemonProgram, ...options })
}

/** Starts a daemon on each host and a container `c1` behind each. */
export async function bringUp(hosts: readonly Host[], options: DaemonOptions = {}): Promise<void> {
  await Promise.all(hosts.map((host) => startDaemon(host, options)))
  for (const host of hosts) {
    await host.subnetEnv()
    await host.addContainer('c1')
  }
}

/** The daemon's program once more in the host, to its end: `flanneld(host, ['status', '--brief'])`. */
export async function flanneld(host: Host, words: readonly string[], options: DaemonOptions = {}): Promise<Outcome> {
  const etcdUrl = options.etcdEndpoints ?? 'http://192.0.2.10:2379'
  const argv = await daemonCommand({ program: daemonProgram, ...options }, host.paths, etcdUrl)
  return await host.exec([...argv, ...words], { anyCode: true, ...(options.env ? { env: options.env } : {}) })
}

/** The status document, asked for at the daemon's socket. */
// biome-ignore lint/suspicious/noExplicitAny: the test is the judge of its shape
export async function status(host: Host): Promise<any> {
  const { text } = await get({ socketPath: host.paths.statusSocket, path: '/' })
  return JSON.parse(text)
}

export async function get(options: { socketPath: string; path: string }): Promise<{ code: number; text: string }> {
  return await new Promise((resolve, reject) => {
    const asked = request({ ...options, agent: false, timeout: 5_000 }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ code: response.statusCode ?? 0, text }))
    })
    // A daemon that stands still takes the connection, and answers never.
    asked.on('timeout', () => asked.destroy(new Error(`no answer from ${options.socketPath}`)))
    asked.on('error', reject)
    asked.end()
  })
}

export async function ready(host: Host, ms = 10_000): Promise<void> {
  await until(ms, `${host.label} is ready`, async () => {
    const exit = host.daemon?.exit
    if (exit !== undefined) assert.fail(`daemon ended: ${JSON.stringify(exit)} ${await host.daemon?.logText()}`)
    assert.deepEqual((await status(host)).notReady, [])
  })
}

/** Does what needs the daemon to stand still; it goes on afterwards, whatever happens. */
export async function whileFrozen(host: Host, work: () => Promise<unknown>): Promise<void> {
  await host.daemon?.freeze()
  try {
    await work()
  } finally {
    host.daemon?.kill('SIGCONT')
  }
}

/** Until the host is ready and so many peers are `ok`, and no more than these. */
export async function knowsPeers(host: Host, count: number, ms = 10_000): Promise<void> {
  await until(ms, `${host.label} knows ${count} peers`, async () => {
    const { peers, notReady, rejected } = await status(host)
    const bad = peers.filter((peer: { state: string }) => peer.state !== 'ok')
    assert.deepEqual([peers.length, bad, notReady], [count, [], []], JSON.stringify({ bad, notReady, rejected }))
  })
}

/**
 * Everything that a daemon could have changed in the host's network, a line each, sorted; without numbers that the
 * kernel hands out anew (interface indexes) or changes by itself (states of resolved neighbours, IPv6 link-local).
 */
export async function networkOf(host: Host): Promise<readonly string[]> {
  const script = [
    'ip -4 route show table all',
    'ip -6 route show table all',
    'ip nexthop',
    'ip rule',
    'ip neigh show nud permanent',
    'bridge fdb show',
    'ip -o addr',
    'ip -o -d link',
    'nft list ruleset 2>/dev/null || true',
  ].join('; ')
  const { stdout } = await host.exec(['sh', '-c', script])
  // Elements of sets come in no order; those that packets made come by themselves.
  const elements = (list: string) =>
    list
      .split(/elements = \{|[,}]/)
      .map((element) => element.trim())
      .filter((element) => !/ expires /.test(element))
      .join('\n')
  const kernels = /fe80:|ff00::|33:33:|01:00:5e:|veth-/
  const changing =
    /^\d+: |(?<=@)if\d+| [a-z_]*timer +[\d.]+| counter packets \d+ bytes \d+| (expires|valid_lft|preferred_lft) \S+/g
  const listed = stdout.replaceAll(/elements = \{[^}]*\}/g, elements)
  const lines = listed.split('\n').filter((line) => line.trim() !== '' && !kernels.test(line))
  return lines.map((line) => line.replace(changing, '').trim()).sort()
}

/** Throws naming only what is missing and what is too much. */
export function assertSame(actual: readonly string[], expected: readonly string[]): void {
  const missing = expected.filter((line) => !actual.includes(line)).map((line) => `- ${line}`)
  const surplus = actual.filter((line) => !expected.includes(line)).map((line) => `+ ${line}`)
  if (missing.length + surplus.length > 0) throw new Error(`\n${[...missing, ...surplus].join('\n')}`)
}

/** The lines of `networkOf` that speak of the overlay, its network or its device; rules and the guard have tests of their own. */
export async function overlayOf(host: Host): Promise<readonly string[]> {
  return (await networkOf(host)).filter(
    (line) => /\b10\.5\.|flannel|proto 102/.test(line) && !/cni0|^ip6? [sd]addr|flanneld.guard| comment "/.test(line),
  )
}

/** A vxlan lease as flannel would write it; `n`, below 100, gives its subnet 10.5.N.0/24, its address 192.168.64.(100 + n) and its MAC. */
export function strangerLease(n: number, more: Record<string, unknown> = {}): readonly [key: string, value: string] {
  const mac = `02:00:00:00:00:${n.toString(16).padStart(2, '0')}`
  const value = {
    PublicIP: `192.168.64.${100 + n}`,
    PublicIPv6: null,
    BackendType: 'vxlan',
    BackendData: { VNI: 1, VtepMAC: mac },
    ...more,
  }
  return [`${leasePrefix}10.5.${n}.0-24`, JSON.stringify(value)]
}

/** The one lease in etcd that names the host's address. */
export async function leaseOf(lab: Lab, host: Host): Promise<KeyValue> {
  const leases = await lab.etcd.list(leasePrefix)
  const own = leases.filter(({ value }) => JSON.parse(value).PublicIP === host.address)
  assert.equal(own.length, 1, `leases of ${host.label}: ${JSON.stringify(leases)}`)
  return own[0] as KeyValue
}

/** Hosts that know nothing and an etcd without leases, for the next test. */
export async function startOver(lab: Lab, netConf: unknown): Promise<void> {
  for (const host of lab.hosts) {
    await host.daemon?.stop()
    if (host.daemon !== undefined) await flanneld(host, ['cleanup'])
    await host.exec(['rm', '-rf', host.paths.stateDir, host.paths.subnetFile])
  }
  await lab.etcd.del(leasePrefix, { prefix: true })
  await lab.configure(netConf)
}

/** For an `afterEach`: puts the end of each daemon's log into the failure, since the files go with the lab. */
export async function logsInFailure(failure: Error | undefined, lab: Lab | undefined): Promise<void> {
  if (failure === undefined || lab === undefined) return
  for (const host of lab.hosts) {
    const log = (await host.daemon?.logText().catch(() => '')) ?? ''
    // mocha prints the stack; the message it has taken already.
    failure.stack += `\n--- ${host.label}\n${log.slice(-1_200)}`
  }
}

/** The number of lines in the log so far that match. */
export async function countInLog(host: Host, pattern: RegExp): Promise<number> {
  const log = (await host.daemon?.logText()) ?? ''
  return log.split('\n').filter((line) => pattern.test(line)).length
}
