import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { build } from 'esbuild'
import type { ProxyTable } from '../../backends/udp/engine.ts'
import type { ProxyPeer } from '../../backends/udp/peer-table.ts'
import type { CounterName } from '../../backends/udp/proxy-memory.ts'
import type { Container } from '../../lab/container.ts'
import type { Host } from '../../lab/host.ts'
import type { PingOptions } from '../../lab/ping.ts'
import type { Program } from '../../lab/program.ts'
import { type Cidr, firstHost, networkAddress, prefixLength } from '../../lib/address.ts'
import { until } from '../until.ts'

export const udpNetwork = '10.5.0.0/16' as Cidr
const MTU = 1472

/** A proxy in a lab host, with the device and the subnet.env that a daemon would make. */
export class UdpHost {
  readonly host: Host
  readonly subnet: Cidr
  readonly program: Program
  readonly #tableFile: string

  private constructor(host: Host, subnet: Cidr, program: Program, tableFile: string) {
    this.host = host
    this.subnet = subnet
    this.program = program
    this.#tableFile = tableFile
  }

  /** Starts it, and resolves when it carries packets. */
  static async start(host: Host, subnet: Cidr, peers: readonly ProxyPeer[]): Promise<UdpHost> {
    const tableFile = join(host.folder, 'table.json')
    await writeFile(tableFile, tableText(subnet, peers))
    await writeFile(host.paths.log, '')
    const script = join(import.meta.dirname, 'udp-host-process.ts')
    const argv = [process.execPath, '--import', 'tsx', script, tableFile, host.address, await bundledWorker()]
    const program = await host.start(argv, { log: host.paths.log, cwd: join(import.meta.dirname, '../..') })
    const started = new UdpHost(host, subnet, program, tableFile)
    await started.waitFor(/"at":"running"/)
    await started.configure()
    const env = { NETWORK: udpNetwork, SUBNET: `${firstHost(subnet)}/${prefixLength(subnet)}`, MTU, IPMASQ: false }
    const lines = Object.entries(env).map(([key, value]) => `FLANNEL_${key}=${value}\n`)
    await writeFile(host.paths.subnetFile, lines.join(''))
    return started
  }

  /** What a daemon does with the device: MTU, up, address, route, and the sysctl that lets "net unreachable" in. */
  async configure(): Promise<void> {
    await this.host.ipBatch([
      `link set flannel0 mtu ${MTU} up`,
      `addr replace ${networkAddress(this.subnet)}/32 dev flannel0`,
      `route replace ${udpNetwork} dev flannel0`,
    ])
    // Else the kernel takes an answer that has the device's own address as source for a forgery.
    await this.host.sysctl({ 'net/ipv4/conf/flannel0/accept_local': 1 })
  }

  async replace(peers: readonly ProxyPeer[]): Promise<void> {
    const seen = (await this.program.logText()).length
    await writeFile(this.#tableFile, tableText(this.subnet, peers))
    this.program.kill('SIGHUP')
    await this.waitFor(/"tables":"replaced"/, seen)
  }

  async counters(): Promise<Record<CounterName, number>> {
    const seen = (await this.program.logText()).length
    this.program.kill('SIGUSR2')
    const [, line = '{}'] = await this.waitFor(/"counters":(\{[^}]*\})/, seen)
    return JSON.parse(line)
  }

  /** Waits until what was logged after the first `after` characters matches; throws with the log after 30 s and more. */
  async waitFor(pattern: RegExp, after = 0): Promise<RegExpExecArray> {
    for (let waited = 0; ; waited += 5) {
      const text = await this.program.logText()
      const match = pattern.exec(text.slice(after))
      if (match !== null) return match
      if (waited > 30_000 || !this.program.running)
        throw new Error(`${this.host.label} never said ${pattern}:\n${text}`)
      await delay(5)
    }
  }
}

function tableText(subnet: Cidr, peers: readonly ProxyPeer[]): string {
  return JSON.stringify({ own: networkAddress(subnet), peers } satisfies ProxyTable)
}

/**
 * How many of three echo requests were answered. A fourth is sent behind them: once something came back, ping waits for the
 * last one only two round trips, which on a busy machine is too short.
 */
export async function answered(from: Container, to: Container, options: PingOptions = {}): Promise<number> {
  const { received } = await from.ping(to.address, { count: 4, interval: 10, ...options })
  return Math.min(3, received)
}

/**
 * Until three in a row are answered. The first may be lost while a table or a route changes, and ping goes before an answer that
 * two proxies have been late to pass on; that nothing is lost while nothing changes is judged by a stream.
 */
export async function carries(from: Container, to: Container, options: PingOptions = {}): Promise<void> {
  await until(3_000, `packets pass from ${from.name} to ${to.name}`, async () =>
    assert.equal(await answered(from, to, options), 3),
  )
}

let bundled: Promise<string> | undefined

/** Path of the worker as it is shipped: one file, which starts in a tenth of the time that the loose sources need. */
async function bundledWorker(): Promise<string> {
  const root = join(import.meta.dirname, '../..')
  const outfile = join(root, 'build', 'test', `udp-worker-${process.pid}.cjs`)
  bundled ??= build({
    absWorkingDir: root,
    entryPoints: ['backends/udp/worker.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    external: ['koffi'],
  }).then(() => {
    process.once('exit', () => rmSync(outfile, { force: true }))
    return outfile
  })
  return await bundled
}
