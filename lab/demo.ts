import { systemClock, withDeadline } from '../lib/clock.ts'
import { bringUp, leaseTable } from './bring-up.ts'
import type { Container } from './container.ts'
import type { DaemonOptions } from './daemon.ts'
import type { Host } from './host.ts'
import { Lab } from './lab.ts'
import { liveTable } from './live-table.ts'
import type { PingJudge } from './ping-judge.ts'
import { everyPairReaches, formatColumns, formatReach, measureReach } from './reach-table.ts'
import type { Terminal } from './terminal.ts'
import { heading, indented, verdictMark } from './terminal.ts'

const netConf = { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' } }
const device = 'flannel.1'

/** Three hosts on two segments, shown working, hurt and healed. True when every pair could reach each other throughout. */
export async function demo(terminal: Terminal, daemon: DaemonOptions): Promise<boolean> {
  const began = systemClock.now()
  const lab = await Lab.create({
    segments: [
      { name: 'lan1', subnet: '192.168.64.0/24', hosts: ['h1', 'h2'] },
      { name: 'lan2', subnet: '192.168.65.0/24', hosts: ['h3'] },
    ],
    netConf,
  })
  try {
    heading(terminal, `Three hosts on two segments, made in ${seconds(began)} s (lab ${lab.id})`)
    indented(terminal, picture)
    terminal.signal.throwIfAborted()

    heading(terminal, 'The configuration in etcd')
    indented(terminal, [JSON.stringify(netConf)])
    const started = systemClock.now()
    await bringUp(lab.hosts, daemon)
    await untilAllKnown(terminal, lab)

    heading(terminal, `Who leased what: daemons and containers up in ${seconds(started)} s`)
    indented(terminal, await leaseTable(lab))
    heading(terminal, 'subnet.env of each')
    indented(terminal, await subnetFiles(lab))

    const reached = await showReach(terminal, lab, 'Who reaches whom, container to container, round trip')
    terminal.signal.throwIfAborted()
    const faultsHarmless = reached && (await stopDaemon(terminal, lab, daemon)) && (await deleteDevice(terminal, lab))
    const good = (await showReach(terminal, lab, 'Who reaches whom now')) && faultsHarmless

    heading(terminal, good ? 'Every pair reached each other.' : 'Not everything went as it should.')
    if (terminal.interactive) await liveTable(terminal, lab)
    return good
  } finally {
    await lab.close()
  }
}

/** Hosts that came in the same moment hear of each other a little later than each is ready. What is not right by then, the table shows. */
async function untilAllKnown(terminal: Terminal, lab: Lab): Promise<void> {
  const until = systemClock.now() + 5_000
  while (systemClock.now() < until && !everyPairReaches(await measureReach(lab.hosts, { count: 1 })))
    terminal.signal.throwIfAborted()
}

const picture = [
  'h1 .11 ──┐ lan1               lan2',
  '         ├─ 192.168.64.0/24 ── router ── 192.168.65.0/24 ── h3 .11',
  'h2 .12 ──┘                       │',
  '                                 └── etcd 192.0.2.10',
]

/** Traffic must not care whether the daemon lives. */
async function stopDaemon(terminal: Terminal, lab: Lab, daemon: DaemonOptions): Promise<boolean> {
  heading(terminal, 'Stopping the daemon on h2, and starting it again; the traffic goes on')
  const host = lab.host('h2')
  const others = [lab.host('h1'), lab.host('h3')]
  const judges = others.map((other) => first(other).startPing(first(host).address, 10))
  try {
    await Promise.all(judges.map((judge) => answered(terminal, judge)))
    const exit = await host.daemon?.stop()
    indented(terminal, [`daemon ended: ${exit?.signal ?? `exit code ${exit?.code}`}`])
    await systemClock.sleep(1_000, terminal.signal)
    await host.startDaemon(daemon)
    await systemClock.sleep(1_000, terminal.signal)
  } finally {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
  }
  return judges
    .map((judge, index) => {
      const { sent, lost } = judge.verdict()
      const path = `${others[index]?.label} -> h2`
      indented(terminal, [`${path}: ${sent} packets, ${lost} lost  ${verdictMark(terminal, lost === 0)}`])
      return lost === 0
    })
    .every(Boolean)
}

/** The daemon must notice, and make the device again with all that was on it. */
async function deleteDevice(terminal: Terminal, lab: Lab): Promise<boolean> {
  heading(terminal, `Deleting ${device} on h1 behind the daemon's back`)
  const [host, other] = [lab.host('h1'), lab.host('h3')]
  const before = await macOf(host)
  const judge = first(host).startPing(first(other).address, 10)
  try {
    await answered(terminal, judge)
    await host.ip('link', 'del', device)
    const deleted = systemClock.now()
    const back = await untilBack(terminal, host)
    const ms = Math.round(systemClock.now() - deleted)
    if (back === undefined) {
      indented(terminal, [`not back after ${ms} ms  ${verdictMark(terminal, false)}`])
      return false
    }
    const mac = back === before ? 'with the same MAC' : `with another MAC, ${back} instead of ${before}`
    indented(terminal, [`back after ${ms} ms ${mac}`])
    // A second for the peers' routes and neighbours, then a little to see that it stays.
    await systemClock.sleep(1_500, terminal.signal)
  } finally {
    await judge.stop().catch(() => undefined)
  }
  const { lost, longestGapMs } = judge.verdict()
  const again = await first(host).ping(first(other).address)
  const good = again.received > 0 && longestGapMs < 1_500
  const what = again.received > 0 ? `traffic paused ${longestGapMs} ms (${lost} packets)` : 'no traffic since'
  indented(terminal, [`h1 -> h3: ${what}  ${verdictMark(terminal, good)}`])
  return good
}

async function untilBack(terminal: Terminal, host: Host): Promise<string | undefined> {
  const deadline = systemClock.now() + 5_000
  while (systemClock.now() < deadline) {
    const mac = await macOf(host)
    if (mac !== undefined) return mac
    await systemClock.sleep(10, terminal.signal)
  }
  return undefined
}

async function macOf(host: Host): Promise<string | undefined> {
  const links = await host.ipJson('link', 'show')
  return links.find((link) => link.ifname === device)?.address
}

/** The files beside each other. */
async function subnetFiles(lab: Lab): Promise<readonly string[]> {
  const files = await Promise.all(lab.hosts.map(async (host) => (await host.subnetEnv()).text.trimEnd().split('\n')))
  const height = Math.max(...files.map((lines) => lines.length))
  const rows = Array.from({ length: height }, (_unused, line) => files.map((lines) => lines[line] ?? ''))
  return formatColumns([lab.hosts.map((host) => host.label), ...rows])
}

async function showReach(terminal: Terminal, lab: Lab, title: string): Promise<boolean> {
  heading(terminal, title)
  const table = await measureReach(lab.hosts)
  indented(terminal, formatReach(table, { colour: terminal.interactive }))
  return everyPairReaches(table)
}

function first(host: Host): Container {
  return host.container('c1')
}

function answered(terminal: Terminal, judge: PingJudge): Promise<void> {
  return withDeadline(5_000, terminal.signal, (soon) => judge.answered(soon))
}

function seconds(since: number): string {
  return ((systemClock.now() - since) / 1000).toFixed(1)
}
