import type { Fdb, Neighbour } from '../../kernel/objects.ts'
import { type Cidr, type IpAddr, ipFromNumber, ipToNumber, networkAddress } from '../../lib/address.ts'
import type { SimulatedHost } from './host.ts'

/** What becomes of a packet: the host that takes it out of its tunnel, or where it was lost. */
export type Fate = { readonly host: SimulatedHost } | { readonly lost: string }

/**
 * Sends a packet from a host into a container's subnet as Linux would: route, neighbour and FDB entry of the sender, then the device with that
 * hardware address on the host with that address. Knows nothing of leases or plans.
 */
export function send(from: SimulatedHost, subnet: Cidr, hosts: readonly SimulatedHost[]): Fate {
  const to = ipFromNumber(4, ipToNumber(networkAddress(subnet)) + 2n)
  const route = from.routeFor(to)
  if (route === undefined) return { lost: `no route to ${to}` }
  if (route.type !== 'unicast') return { lost: `${to} is a ${route.type}` }
  if (!route.dst.startsWith(networkAddress(subnet))) return { lost: `${to} leaves by ${route.dst} dev ${route.device}` }
  const link = from.kernel.get(`link ${route.device}`)
  if (link?.kind !== 'link' || !link.up) return { lost: `${route.device} is not up` }
  if (link.driver.type !== 'vxlan') return byWire(route.via, hosts)
  return byVxlan(from, { device: link.name, gateway: route.via ?? to }, hosts)
}

function byWire(gateway: IpAddr | undefined, hosts: readonly SimulatedHost[]): Fate {
  const host = hosts.find(({ addresses }) => gateway !== undefined && addresses.includes(gateway))
  return host === undefined ? { lost: `nobody has ${gateway}` } : { host }
}

function byVxlan(
  from: SimulatedHost,
  { device, gateway }: { readonly device: string; readonly gateway: IpAddr },
  hosts: readonly SimulatedHost[],
): Fate {
  const { kernel } = from
  const neighbours = kernel.all('neighbour') as Neighbour[]
  const mac = neighbours.find((one) => one.device === device && one.address === gateway)?.mac
  if (mac === undefined) return { lost: `no neighbour ${gateway} on ${device}` }
  const dst = (kernel.all('fdb') as Fdb[]).find((one) => one.device === device && one.mac === mac)?.dst
  if (dst === undefined) return { lost: `no FDB entry for ${mac} on ${device}` }
  const host = hosts.find(({ addresses }) => addresses.includes(dst))
  if (host === undefined) return { lost: `nobody has ${dst}` }
  const sent = kernel.get(`link ${device}`)
  const isReceiver = host.kernel.all('link').some((link) => {
    if (link.kind !== 'link' || link.driver.type !== 'vxlan' || sent?.kind !== 'link' || sent.driver.type !== 'vxlan')
      return false
    const { vni, port, local } = link.driver
    return link.up && link.mac === mac && vni === sent.driver.vni && port === sent.driver.port && local === dst
  })
  return isReceiver ? { host } : { lost: `${dst} has no device with ${mac}` }
}
