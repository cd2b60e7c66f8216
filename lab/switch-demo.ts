import { systemClock, withDeadline } from '../lib/clock.ts'
import { bringUp } from './bring-up.ts'
import { type DaemonOptions, daemonCommand } from './daemon.ts'
import type { Host } from './host.ts'
import { Lab } from './lab.ts'
import type { PingJudge } from './ping-judge.ts'
import { formatColumns } from './reach-table.ts'
import { heading, indented, type Terminal, verdictMark } from './terminal.ts'

/** What the demo can change to; from vxlan, or from host-gw to vxlan. */
export const switchTargets = ['host-gw', 'udp', 'vxlan'] as const
export type SwitchTarget = (typeof switchTargets)[number]

const LOOK_MS = 100
const MOST_MS = 60_000

/** What the demo reads of `flanneld status -o json`. */
interface Seen {
  readonly ready: boolean
  readonly peers: readonly { readonly state: string }[]
  readonly backendChange: null | {
    readonly phase: string
    readonly peers: { readonly moved: number; readonly total: number }
  }
}

/** Another backend there and back, under pings between all containers. True when none was lost. */
export async function switchDemo(terminal: Terminal, target: SwitchTarget, daemon: DaemonOptions): Promise<boolean> {
  const first: SwitchTarget = target === 'vxlan' ? 'host-gw' : 'vxlan'
  const lab = await Lab.create({
    segments: [{ name: 'lan1', subnet: '192.168.64.0/24', hosts: ['h1', 'h2', 'h3'] }],
    netConf: configuration(first),
  })
  const statusOf = async (host: Host): Promise<Seen> => {
    const command = await daemonCommand(daemon, host.paths, lab.etcd.url)
    const { stdout } = await host.exec([...command, 'status', '-o', 'json'], { anyCode: true })
    return JSON.parse(stdout)
  }
  let judges: readonly PingJudge[] = []
  try {
    heading(terminal, `Three hosts, a container on each, backend ${first}`)
    await bringUp(lab.hosts, daemon)
    await until(terminal, async () => (await Promise.all(lab.hosts.map(statusOf))).every(knowsBoth))
    indented(terminal, await ways(lab.hosts))
    judges = pairs(lab.hosts).map(([from, to]) => from.container('c1').startPing(to.container('c1').address, 10))
    await Promise.all(judges.map((judge) => withDeadline(10_000, terminal.signal, (soon) => judge.answered(soon))))

    for (const next of [target, first]) {
      const text = JSON.stringify(configuration(next))
      heading(terminal, `etcdctl put /coreos.com/network/config '${text}'`)
      await lab.configure(configuration(next))
      await follow(terminal, lab.hosts, statusOf)
      indented(terminal, await ways(lab.hosts))
    }
  } finally {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    await lab.close()
  }
  const verdicts = judges.map((judge) => judge.verdict())
  const [sent, lost] = [verdicts.map((one) => one.sent), verdicts.map((one) => one.lost)].map(sum)
  const good = lost === 0
  heading(
    terminal,
    `${verdicts.length} pings at once, containers of all hosts to all others: ${sent} packets, ${lost} lost`,
  )
  indented(terminal, [verdictMark(terminal, good)])
  return good
}

function configuration(type: SwitchTarget): object {
  return { Network: '10.5.0.0/16', Backend: { Type: type } }
}

/** A line for each thing that a host says of its change, until all have ended theirs. */
async function follow(
  terminal: Terminal,
  hosts: readonly Host[],
  statusOf: (host: Host) => Promise<Seen>,
): Promise<void> {
  const began = systemClock.now()
  const told = new Map<Host, string>()
  await until(terminal, async () => {
    const all = await Promise.all(hosts.map(async (host) => [host, (await statusOf(host)).backendChange] as const))
    for (const [host, change] of all) {
      const before = told.get(host)
      const ended = before === undefined ? undefined : 'done, the old backend is gone'
      const text =
        change === null ? ended : `${change.phase}, ${change.peers.moved} of ${change.peers.total} peers moved`
      if (text === undefined || text === before) continue
      told.set(host, text)
      indented(terminal, [`${((systemClock.now() - began) / 1000).toFixed(1)} s  ${host.label}  ${text}`])
    }
    return told.size === hosts.length && all.every(([, change]) => change === null)
  })
}

/** By which device each host sends to each other one's container. */
async function ways(hosts: readonly Host[]): Promise<readonly string[]> {
  const rows = await Promise.all(
    pairs(hosts).map(async ([from, to]) => {
      const { address } = to.container('c1')
      const [route] = await from.ipJson('route', 'get', address)
      return [`${from.label} -> ${to.label}`, address, `dev ${route?.['dev']}`]
    }),
  )
  return formatColumns(rows)
}

async function until(terminal: Terminal, isSo: () => Promise<boolean>): Promise<void> {
  const end = systemClock.now() + MOST_MS
  while (!(await isSo())) {
    if (systemClock.now() > end) throw new Error(`not within ${MOST_MS / 1000} s`)
    await systemClock.sleep(LOOK_MS, terminal.signal)
  }
}

function knowsBoth({ ready, peers }: Seen): boolean {
  return ready && peers.length === 2 && peers.every(({ state }) => state === 'ok')
}

function pairs(hosts: readonly Host[]): readonly (readonly [Host, Host])[] {
  return hosts.flatMap((from) => hosts.flatMap((to) => (from === to ? [] : [[from, to] as const])))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}
