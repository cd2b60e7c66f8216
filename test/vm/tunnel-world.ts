import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { inParallel } from '../../lab/build.ts'
import { type DaemonOptions, daemonCommand } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab, type LabOptions } from '../../lab/lab.ts'
import { daemonProgram, startDaemon, status } from '../e2e/world.ts'

/** What can be proven under Debian's kernel only: backends whose modules a test machine's own lacks. */
export interface TunnelCase {
  readonly title: string
  readonly backend: Record<string, unknown>
  readonly device: string
  readonly mtu: number
  /** Peers on the same link are reached without the tunnel. */
  readonly direct?: boolean
}

export const ipip: TunnelCase = { title: 'ipip', backend: { Type: 'ipip' }, device: 'flannel.ipip', mtu: 1480 }
export const ipipDirect: TunnelCase = {
  ...ipip,
  title: 'ipip with DirectRouting',
  backend: { Type: 'ipip', DirectRouting: true },
  direct: true,
}
export const udp: TunnelCase = {
  title: 'udp in the kernel',
  backend: { Type: 'udp', Engine: 'kernel' },
  device: 'flannel0',
  mtu: 1472,
}

/** Emulated: everything takes up to ten times as long. */
export const patience = 90_000

/** Nothing loads fou by itself. */
export function loadFou(): void {
  execFileSync('modprobe', ['fou'])
}

export async function tunnelLab({ backend }: TunnelCase, segments: LabOptions['segments']): Promise<Lab> {
  return await Lab.create({ segments, rpFilter: 1, netConf: { Network: '10.5.0.0/16', Backend: backend } })
}

/** A daemon and a container `c1` on each, two hosts at once: so many processors has the machine. */
export async function bringUp(hosts: readonly Host[], options: DaemonOptions = {}): Promise<void> {
  await inParallel(hosts, 2, async (host) => {
    await startDaemon(host, options)
    await host.subnetEnv({ timeout: patience })
    await host.addContainer('c1')
  })
}

export async function allKnow(hosts: readonly Host[], count: number, ms = patience): Promise<void> {
  for (const host of hosts) {
    await patiently(
      `${host.label} knows ${count} peers`,
      async () => {
        const { peers, notReady } = await status(host)
        assert.deepEqual([peers.length, notReady], [count, []])
      },
      ms,
    )
  }
}

/** Looks twice a second: on one emulated processor a look more often would slow down what it waits for. */
export async function patiently(what: string, check: () => Promise<unknown>, ms = patience): Promise<void> {
  const deadline = Date.now() + ms
  for (;;) {
    try {
      await check()
      return
    } catch (cause) {
      if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}: ${(cause as Error).message}`, { cause })
    }
    await delay(500)
  }
}

/** `flanneld cleanup` on a host whose daemon has stopped. */
export async function cleanUp(host: Host): Promise<void> {
  const argv = await daemonCommand({ program: daemonProgram }, host.paths, 'http://192.0.2.10:2379')
  await host.exec([...argv, 'cleanup'], { timeout: patience })
}
