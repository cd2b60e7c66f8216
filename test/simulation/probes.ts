import type { ProbePort, ProbeRound } from '../../flanneld/switch/probe-port.ts'
import { PROBE_PORTS } from '../../kernel/kinds/probe-rule/ports.ts'
import { defaultMetric, keyOf, ROUTE_PROTOCOL, type Route } from '../../kernel/objects.ts'
import { type Cidr, cidrOf, familyOf, type IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { send } from './fabric.ts'
import type { SimulatedHost } from './host.ts'

const PATIENCE_MS = 500
/** Of the hosts' subnets in all histories. */
const SUBNET_BITS = { 4: 24, 6: 64 } as const

/** Who answers probes at which address, on all hosts. */
export type Answering = Map<IpAddr, SimulatedHost>

interface Needs {
  readonly clock: Clock
  readonly answering: Answering
  readonly host: SimulatedHost
  readonly hosts: () => readonly SimulatedHost[]
}

/** Probes of one process: they go through the fabric as packets of containers do, and are answered by who listens. */
export class SimulatedProbes implements ProbePort {
  readonly #needs: Needs
  #own: readonly IpAddr[] = []

  constructor(needs: Needs) {
    this.#needs = needs
  }

  async open(addresses: readonly IpAddr[]): Promise<void> {
    const { answering, host } = this.#needs
    for (const address of this.#own) answering.delete(address)
    const isThere = (address: IpAddr) =>
      host.kernel.all('address').some((one) => one.kind === 'address' && one.address === address)
    if (!addresses.every(isThere)) throw new Error('the address is not there')
    this.#own = addresses
    for (const address of addresses) answering.set(address, host)
  }

  async send(round: ProbeRound, signal: AbortSignal): Promise<string | undefined> {
    const { clock } = this.#needs
    if (this.#isAnswered(round)) {
      await clock.sleep(1, signal)
      return undefined
    }
    await clock.sleep(PATIENCE_MS, signal)
    return 'no probe is answered'
  }

  close(): void {
    for (const address of this.#own) this.#needs.answering.delete(address)
  }

  #isAnswered({ from, to, by }: ProbeRound): boolean {
    const { answering, host, hosts } = this.#needs
    const packet = { from: subnetOf(from), to: subnetOf(to) }
    const route = by === 'tried' ? probeRoute(host, { from, dst: packet.to }) : undefined
    if (by === 'tried' && route === undefined && hasRule(host, from, 'unreachable')) return false
    const there = send(packet, host, hosts(), route)
    if ('lost' in there || answering.get(to) !== there.host) return false
    const back = send({ from: packet.to, to: packet.from }, there.host, hosts())
    return 'host' in back && back.host === host
  }
}

function subnetOf(address: IpAddr): Cidr {
  return cidrOf(address, SUBNET_BITS[familyOf(address)])
}

function hasRule(host: SimulatedHost, from: IpAddr, action: 'lookup' | 'unreachable'): boolean {
  return host.kernel.get(keyOf({ kind: 'probe-rule', action, from, sources: PROBE_PORTS[0].tried })) !== undefined
}

/** Undefined: the kernel goes on to the next rule, which is the main table's if nothing is in between. */
function probeRoute(host: SimulatedHost, { from, dst }: { from: IpAddr; dst: Cidr }): Route | undefined {
  if (!hasRule(host, from, 'lookup')) return undefined
  const found = host.kernel.get(`probe-route ${dst}`)
  if (found?.kind !== 'probe-route') return undefined
  const { family, device, via } = found
  const route = { kind: 'route', family, dst, metric: defaultMetric(family), type: 'unicast', device } as const
  return { ...route, protocol: ROUTE_PROTOCOL, ...(via === undefined ? {} : { via }) }
}
