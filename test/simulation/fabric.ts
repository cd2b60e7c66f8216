import type { GuardPeer } from '../../kernel/kinds/guard-peer/kind.ts'
import type { Fdb, IpipDriver, Link, Neighbour, Route } from '../../kernel/objects.ts'
import { type Cidr, familyOf, type IpAddr, ipFromNumber, ipToNumber, networkAddress } from '../../lib/address.ts'
import { prefixKey } from '../../lib/prefix-key.ts'
import type { SimulatedHost } from './host.ts'
import { UPLINK } from './host.ts'

/** What becomes of a packet: the host that takes it out of its tunnel, or where it was lost. */
export type Fate = { readonly host: SimulatedHost } | { readonly lost: string }

/** A packet between two containers, by the subnets of their hosts. */
export interface Packet {
  readonly from: Cidr
  readonly to: Cidr
}

interface Arrival {
  readonly host: SimulatedHost
  /** It comes in by this device, as the inner packet. */
  readonly device: Link
  /** Of the outer packet; undefined: it came without a tunnel. */
  readonly outer?: IpAddr
}

/**
 * Sends a packet from a host into a container's subnet as Linux would: route, neighbour and FDB entry of the sender, then the device
 * with that hardware address on the host with that address, its reverse path filter and its guard. Knows nothing of leases or plans.
 * `by`: the route that it takes, where that is not the one of the main table.
 */
export function send(packet: Packet, from: SimulatedHost, hosts: readonly SimulatedHost[], by?: Route): Fate {
  const to = containerOf(packet.to)
  const route = by ?? from.routeFor(to)
  if (route === undefined) return { lost: `no route to ${to}` }
  if (route.type !== 'unicast') return { lost: `${to} is a ${route.type}` }
  if (route.dst !== packet.to) return { lost: `${to} leaves by ${route.dst} dev ${route.device}` }
  const link = from.kernel.get(`link ${route.device}`)
  if (link?.kind !== 'link' || !link.up) return { lost: `${route.device} is not up` }
  const arrival = arrivalOf(link, { ...packet, gateway: route.via ?? to }, from, hosts)
  if ('lost' in arrival) return arrival
  const why = refusal(arrival, packet.from)
  return why === undefined ? { host: arrival.host } : { lost: why }
}

/** Of a packet each: packets are many, subnets few. */
const containers = new Map<Cidr, IpAddr>()

function containerOf(subnet: Cidr): IpAddr {
  const known = containers.get(subnet)
  const container = known ?? ipFromNumber(familyOf(subnet), ipToNumber(networkAddress(subnet)) + 2n)
  if (known === undefined) containers.set(subnet, container)
  return container
}

function arrivalOf(
  link: Link,
  { to, gateway }: Packet & { readonly gateway: IpAddr },
  from: SimulatedHost,
  hosts: readonly SimulatedHost[],
): Arrival | { readonly lost: string } {
  if (link.driver.type === 'vxlan') return byVxlan(from, link, gateway, hosts)
  if (link.driver.type === 'tun') return byProxy(from, link, to, hosts)
  return link.driver.type === 'ipip' ? byIpip(from, link.driver, gateway, hosts) : byWire(from, gateway, hosts)
}

function byWire(
  from: SimulatedHost,
  gateway: IpAddr | undefined,
  hosts: readonly SimulatedHost[],
): Arrival | { readonly lost: string } {
  const host = hosts.find(({ addresses }) => gateway !== undefined && addresses.includes(gateway))
  const device = host?.kernel.get(`link ${UPLINK}`)
  if (host === undefined || device?.kind !== 'link' || !device.up) return { lost: `nobody answers for ${gateway}` }
  return from === host ? { lost: 'it does not leave its host' } : { host, device }
}

function byVxlan(
  from: SimulatedHost,
  sent: Link,
  gateway: IpAddr,
  hosts: readonly SimulatedHost[],
): Arrival | { readonly lost: string } {
  const { kernel } = from
  const neighbours = kernel.all('neighbour') as Neighbour[]
  const mac = neighbours.find((one) => one.device === sent.name && one.address === gateway)?.mac
  if (mac === undefined) return { lost: `no neighbour ${gateway} on ${sent.name}` }
  const dst = (kernel.all('fdb') as Fdb[]).find((one) => one.device === sent.name && one.mac === mac)?.dst
  if (dst === undefined) return { lost: `no FDB entry for ${mac} on ${sent.name}` }
  const outer = sent.driver.type === 'vxlan' ? sent.driver.local : undefined
  if (outer === undefined || !from.addresses.includes(outer)) return { lost: `${outer} is not on the sender's uplink` }
  const arrival = byWire(from, dst, hosts)
  if ('lost' in arrival) return arrival
  const device = arrival.host.links().find((link) => {
    if (link.driver.type !== 'vxlan' || sent.driver.type !== 'vxlan') return false
    const { vni, port, local } = link.driver
    return link.up && link.mac === mac && vni === sent.driver.vni && port === sent.driver.port && local === dst
  })
  return device === undefined ? { lost: `${dst} has no device with ${mac}` } : { host: arrival.host, device, outer }
}

/** Bare, or in UDP to a port that the far end unwraps. */
function byIpip(
  from: SimulatedHost,
  { local: outer, encapsulation }: IpipDriver,
  gateway: IpAddr,
  hosts: readonly SimulatedHost[],
): Arrival | { readonly lost: string } {
  if (outer === undefined || !from.addresses.includes(outer)) return { lost: `${outer} is not on the sender's uplink` }
  const arrival = byWire(from, gateway, hosts)
  if ('lost' in arrival) return arrival
  if (encapsulation !== undefined) return outOfUdp(arrival.host, { outer, dst: gateway, port: encapsulation.port })
  return outOfIpip(arrival.host, gateway, outer)
}

/** By a process of the sender, which reads the packet from its device. */
function byProxy(
  from: SimulatedHost,
  { name }: Link,
  to: Cidr,
  hosts: readonly SimulatedHost[],
): Arrival | { readonly lost: string } {
  const proxy = from.proxies.at(name)
  if (proxy === undefined) return { lost: NO_PROCESS }
  const { local: outer, port } = proxy.options
  const dst = proxy.table.peers.find(({ subnet }) => subnet === to)?.publicIp
  if (dst === undefined) return { lost: `the proxy of ${name} knows no peer with ${to}` }
  if (!from.addresses.includes(outer)) return { lost: `${outer} is not on the sender's uplink` }
  const arrival = byWire(from, dst, hosts)
  return 'lost' in arrival ? arrival : outOfUdp(arrival.host, { outer, dst, port })
}

/** A packet that no process takes up now: they are lost while a daemon with the userspace engine is away. */
export const NO_PROCESS = 'no process carries it'

/** The kernel takes the packet out, or a process. */
function outOfUdp(
  host: SimulatedHost,
  { outer, dst, port }: { outer: IpAddr; dst: IpAddr; port: number },
): Arrival | { readonly lost: string } {
  if (host.kernel.get(`fou-port ${port}`) !== undefined) return outOfIpip(host, dst, outer)
  const proxy = host.proxies.listeningAt(dst, port)
  if (proxy === undefined) return { lost: host.hasFou ? `${dst} has no FOU port ${port}` : NO_PROCESS }
  if (!proxy.table.peers.some(({ publicIp }) => publicIp === outer))
    return { lost: `the proxy at ${dst} knows no peer ${outer}` }
  const device = host.kernel.get(`link ${proxy.options.device}`)
  return device?.kind === 'link' && device.up ? { host, device, outer } : { lost: `${dst} has no tun that is up` }
}

function outOfIpip(host: SimulatedHost, dst: IpAddr, outer: IpAddr): Arrival | { readonly lost: string } {
  const device = host.links().find(({ up, driver }) => up && driver.type === 'ipip' && driver.local === dst)
  return device === undefined ? { lost: `${dst} has no ipip device` } : { host, device, outer }
}

/** Why the receiver does not take it; undefined: it does. */
function refusal(arrival: Arrival, from: Cidr): string | undefined {
  return refusedByFilter(arrival, from) ?? refusedByGuard(arrival, from)
}

/** Source: Documentation/networking/ip-sysctl.rst of Linux, rp_filter: the larger of the two values counts, 1 is strict. */
function refusedByFilter({ host, device }: Arrival, from: Cidr): string | undefined {
  if (familyOf(from) === 6) return undefined
  const values = ['all', device.name].map((name) => host.kernel.get(`sysctl net/ipv4/conf/${name}/rp_filter`))
  const filter = Math.max(...values.map((object) => (object?.kind === 'sysctl' ? Number(object.value) : 0)))
  if (filter === 0) return undefined
  const back = host.routeFor(containerOf(from))
  if (back === undefined) return `rp_filter of ${device.name}: no route back to ${from}`
  if (filter === 1 && back.device !== device.name)
    return `rp_filter of ${device.name}: ${from} is behind ${back.device}`
  return undefined
}

/** By the elements of every guard that judges on this device: the sets decide, the chains only say that they do. */
function refusedByGuard({ host, device, outer }: Arrival, from: Cidr): string | undefined {
  const { kernel } = host
  const source = prefixKey(from)
  for (const chains of kernel.all('guard-chains')) {
    if (chains.kind !== 'guard-chains') continue
    // The guard of another instance judges its own tunnel.
    if (outer !== undefined && kernel.makers.of(chains) !== kernel.makers.of(device)) continue
    const peers = (kernel.all('guard-peer') as GuardPeer[]).filter(({ table }) => table === chains.table)
    if (outer !== undefined && !peers.some(({ vteps }) => vteps.includes(outer)))
      return `guard ${chains.table}: outer source ${outer}`
    const isJudged = outer !== undefined || peers.some(({ subnets }) => subnets.includes(source))
    const may = peers.some(({ senders }) => senders.some((one) => one.device === device.name && one.source === source))
    if (isJudged && !may) return `guard ${chains.table}: inner source ${from} on ${device.name}`
  }
  return undefined
}
