import { ownPorts } from '../../backends/way.ts'
import { freeProbePorts, PROBE_PORTS } from '../../kernel/kinds/probe-rule/ports.ts'
import { tunnelName } from '../../kernel/obstacles/packet-fate.ts'
import type { Seen } from './seen.ts'

/** What firewalls must let in for the node to go to this way: clouds drop a new port in silence. Pure. */
export function whatToOpen({ keys, last, ways }: Pick<Seen, 'keys' | 'last' | 'ways'>, target: string): string {
  const way = [...keys].find(([, key]) => key === target)?.[0]
  const outer = (way && last.plan.locals.get(way)?.ingress?.outer) ?? []
  const tunnels = outer.map((form) =>
    tunnelName(form.type === 'ipip' ? { protocol: 'ipip' } : { protocol: 'udp', port: form.port }),
  )
  const [{ answers } = PROBE_PORTS[0]] = freeProbePorts(ownPorts(ways))
  return [...tunnels.map((name) => `${name} between the hosts`), `${answers}/udp from the overlay`].join(' and ')
}
