import { systemClock } from '../lib/clock.ts'
import type { Lab } from './lab.ts'
import { everyPairReaches, formatReach, measureReach } from './reach-table.ts'
import type { Terminal } from './terminal.ts'
import { heading, indented } from './terminal.ts'

/** The table of who reaches whom, drawn again every second until Ctrl-C. */
export async function liveTable(terminal: Terminal, lab: Lab): Promise<void> {
  heading(terminal, 'Now break something in another terminal; Ctrl-C ends the lab')
  indented(terminal, doors(lab))
  terminal.print('')
  let drawn = 0
  while (!terminal.signal.aborted) {
    const table = await measureReach(lab.hosts, { count: 1 })
    const state = everyPairReaches(table) ? 'all pairs' : 'LOST PAIRS'
    const daemons = lab.hosts.map((host) => `${host.label} ${host.daemon?.running ? 'up' : 'ended'}`).join(', ')
    const time = new Date(systemClock.wall()).toISOString().slice(11, 19)
    const lines = [`${time}  ${state}  daemons: ${daemons}`, ...formatReach(table, { colour: true })]
    if (terminal.signal.aborted) return
    // Up to the first line of the last drawing, then clear each line before it is written.
    if (drawn > 0) terminal.print(`\x1b[${drawn + 1}A`)
    for (const line of lines) terminal.print(`\x1b[2K  ${line}`)
    drawn = lines.length
    await systemClock.sleep(1_000, terminal.signal).catch(() => undefined)
  }
}

/** How to enter the lab from another terminal. */
export function doors(lab: Lab): readonly string[] {
  const [host] = lab.hosts
  if (host === undefined) return []
  return [
    `a host       ip netns exec ${host.name} bash`,
    ...host.containers.slice(0, 1).map((container) => `a container  ip netns exec ${container.name} bash`),
    `etcd         ip netns exec ${lab.controlPlane.name} env ETCDCTL_API=3 etcdctl get --prefix /coreos.com/network`,
    `all files    ${lab.folder}/HOST/{subnet.env,flanneld.log}`,
  ]
}
