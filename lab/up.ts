import { readFile } from 'node:fs/promises'
import { systemClock } from '../lib/clock.ts'
import { messageOf, UsageError } from '../lib/errors.ts'
import { bringUp, leaseTable } from './bring-up.ts'
import type { RpFilter } from './build.ts'
import type { DaemonOptions } from './daemon.ts'
import { Lab } from './lab.ts'
import type { SegmentOptions } from './layout.ts'
import { doors, liveTable } from './live-table.ts'
import { everyPairReaches, formatReach, measureReach } from './reach-table.ts'
import type { Terminal } from './terminal.ts'
import { heading, indented } from './terminal.ts'

export interface UpOptions {
  readonly hosts: number
  readonly segments: number
  readonly backend: string
  /** A net-conf.json, in place of `backend`; read again when it changes. */
  readonly netConf: string | undefined
  readonly ipv6: boolean
  readonly rpFilter: RpFilter
  readonly mtu: number
  readonly daemon: DaemonOptions
}

/** With more hosts a table of all pairs is neither quick nor readable. */
const tableLimit = 12

/** A lab to try a configuration in; it stays until Ctrl-C. */
export async function up(terminal: Terminal, options: UpOptions): Promise<void> {
  const netConf = options.netConf === undefined ? defaultNetConf(options) : await readNetConf(options.netConf)
  const began = systemClock.now()
  const lab = await Lab.create({
    segments: segmentsOf(options),
    rpFilter: options.rpFilter,
    mtu: options.mtu,
    netConf,
  })
  try {
    terminal.print(`lab ${lab.id}: ${options.hosts} hosts on ${options.segments} segment(s), configuration in etcd:`)
    indented(terminal, netConf.trimEnd().split('\n'))
    terminal.signal.throwIfAborted()
    await bringUp(lab.hosts, options.daemon)
    heading(terminal, `Up after ${((systemClock.now() - began) / 1000).toFixed(1)} s`)
    indented(terminal, await leaseTable(lab))
    const follow =
      options.netConf === undefined ? Promise.resolve() : followFile(terminal, lab, options.netConf, netConf)
    if (options.hosts > tableLimit) {
      heading(terminal, 'Ctrl-C ends the lab')
      indented(terminal, doors(lab))
      await untilAborted(terminal.signal)
    } else if (terminal.interactive) {
      await liveTable(terminal, lab)
    } else {
      const table = await measureReach(lab.hosts)
      heading(terminal, everyPairReaches(table) ? 'Every pair reaches each other' : 'Not every pair reaches each other')
      indented(terminal, formatReach(table, { colour: false }))
      heading(terminal, 'SIGINT ends the lab')
      indented(terminal, doors(lab))
      await untilAborted(terminal.signal)
    }
    await follow
  } finally {
    terminal.print('')
    terminal.print('removing the lab ...')
    await lab.close()
  }
}

// Hosts in order: the first segment takes the first part of them.
function segmentsOf({ hosts, segments, ipv6 }: UpOptions): readonly SegmentOptions[] {
  if (segments > hosts) throw new UsageError(`${segments} segments for ${hosts} hosts: at least one host each`)
  const names = Array.from({ length: hosts }, (_unused, index) => `h${index + 1}`)
  return Array.from({ length: segments }, (_unused, index) => ({
    name: `lan${index + 1}`,
    subnet: `192.168.${64 + index}.0/24`,
    ...(ipv6 ? { subnet6: `fd00:${64 + index}::/64` } : {}),
    hosts: names.slice(Math.floor((index * hosts) / segments), Math.floor(((index + 1) * hosts) / segments)),
  }))
}

function defaultNetConf({ backend, ipv6 }: UpOptions): string {
  const families = ipv6 ? { EnableIPv6: true, IPv6Network: 'fd05::/48' } : {}
  return JSON.stringify({ Network: '10.5.0.0/16', ...families, Backend: { Type: backend } })
}

async function readNetConf(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new UsageError(`--net-conf: ${messageOf(cause)}`)
  })
}

// By reading, not by watching: editors replace the file, and a second is soon enough for a person.
async function followFile(terminal: Terminal, lab: Lab, path: string, known: string): Promise<void> {
  let last = known
  while (!terminal.signal.aborted) {
    await systemClock.sleep(1_000, terminal.signal).catch(() => undefined)
    const now = await readFile(path, 'utf8').catch(() => last)
    if (now === last || terminal.signal.aborted) continue
    last = now
    await lab.configure(now).catch((cause: unknown) => terminal.print(`etcd: ${messageOf(cause)}`))
    if (!terminal.interactive) terminal.print(`${path} has changed: put into etcd`)
  }
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}
