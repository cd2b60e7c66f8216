import { execFileSync } from 'node:child_process'
import type { DaemonOptions } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab, type LabOptions } from '../../lab/lab.ts'
import { knowsPeers, startDaemon } from '../e2e/world.ts'

/** What can be proven under Debian's kernel only: backends whose modules a test machine's own lacks. */
export interface TunnelCase {
  readonly title: string
  readonly backend: Record<string, unknown>
  readonly device: string
  readonly mtu: number
}

export const ipip: TunnelCase = { title: 'ipip', backend: { Type: 'ipip' }, device: 'flannel.ipip', mtu: 1480 }
export const udp: TunnelCase = {
  title: 'udp in the kernel',
  backend: { Type: 'udp', Engine: 'kernel' },
  device: 'flannel0',
  mtu: 1472,
}

/** Emulated: everything takes up to ten times as long. */
export const patience = 60_000

/** Nothing loads fou by itself. */
export function loadFou(): void {
  execFileSync('modprobe', ['fou'])
}

export async function tunnelLab({ backend }: TunnelCase, segments: LabOptions['segments']): Promise<Lab> {
  return await Lab.create({ segments, rpFilter: 1, netConf: { Network: '10.5.0.0/16', Backend: backend } })
}

/** Daemons, then a container `c1` behind each. */
export async function bringUp(hosts: readonly Host[], options: DaemonOptions = {}): Promise<void> {
  for (const host of hosts) await startDaemon(host, options)
  for (const host of hosts) {
    await host.subnetEnv({ timeout: patience })
    await host.addContainer('c1')
  }
}

export async function allKnow(hosts: readonly Host[], peers: number): Promise<void> {
  for (const host of hosts) await knowsPeers(host, peers, patience)
}
