import type { Cidr, IpAddr } from '../lib/address.ts'
import {
  addressBits,
  familyOf,
  ipFromNumber,
  ipToNumber,
  networkAddress,
  parseCidr,
  prefixLength,
} from '../lib/address.ts'
import { UsageError } from '../lib/errors.ts'

/** One L2 segment: a bridge in the router's namespace. A host named in two segments gets eth0 and eth1. */
export interface SegmentOptions {
  readonly name: string
  /** Room for the hosts; the router has the first address, the hosts .11, .12, ... */
  readonly subnet: string
  readonly subnet6?: string
  readonly hosts: readonly string[]
  /** Bytes; the lab's unless told. */
  readonly mtu?: number
  /** False: the hosts know the way to the control plane only, not to the other segments. */
  readonly defaultRoute?: boolean
}

export interface Nic {
  /** eth0, eth1, ... inside the host. */
  readonly device: string
  /** The other end, a port of the segment's bridge in the router's namespace. */
  readonly port: string
  readonly bridge: string
  readonly mtu: number
  /** Address and length, a family each: `192.168.64.11/24`. */
  readonly addresses: readonly string[]
  readonly gateways: readonly IpAddr[]
  readonly defaultRoute: boolean
}

export interface HostLayout {
  readonly name: string
  readonly namespace: string
  readonly nics: readonly Nic[]
}

export interface SegmentLayout {
  readonly name: string
  readonly bridge: string
  readonly mtu: number
  readonly gateways: readonly string[]
}

export interface Layout {
  readonly id: string
  readonly router: string
  readonly controlPlane: string
  readonly segments: readonly SegmentLayout[]
  readonly hosts: readonly HostLayout[]
}

/** TEST-NET-1 is nobody's network, so it collides with no config an operator may want to try. */
export const controlPlane = { subnet: '192.0.2.0/24', router: '192.0.2.1', address: '192.0.2.10' } as const

const firstHostNumber = 11

/** Every name of a lab's namespaces starts with this. */
export function namespacePrefix(id: string): string {
  return `lab-${id}-`
}

/** Pure: who gets which names and addresses. Throws UsageError for what cannot be built. */
export function layOut(id: string, segments: readonly SegmentOptions[], mtu: number): Layout {
  const nics = new Map<string, Nic[]>()
  const laidOut = segments.map((segment, index): SegmentLayout => {
    const subnets = [segment.subnet, segment.subnet6].filter((subnet) => subnet !== undefined).map(readSubnet)
    const bridge = `seg${index}`
    const segmentMtu = segment.mtu ?? mtu
    segment.hosts.forEach((host, position) => {
      if (!/^[a-z][a-z0-9]{0,7}$/.test(host)) {
        throw new UsageError(`host name ${host}: a letter, then up to 7 small letters or digits`)
      }
      if (['cp', 'router'].includes(host)) throw new UsageError(`host name ${host} is taken by the lab itself`)
      const known = nics.get(host) ?? []
      nics.set(host, known)
      known.push({
        device: `eth${known.length}`,
        port: `p${index}-${host}`,
        bridge,
        mtu: segmentMtu,
        addresses: subnets.map((subnet) => interfaceAddress(subnet, firstHostNumber + position)),
        gateways: subnets.map((subnet) => nthAddress(subnet, 1)),
        defaultRoute: segment.defaultRoute !== false && known.length === 0,
      })
    })
    return {
      name: segment.name,
      bridge,
      mtu: segmentMtu,
      gateways: subnets.map((subnet) => interfaceAddress(subnet, 1)),
    }
  })
  const prefix = namespacePrefix(id)
  const hosts = [...nics].map(([name, own]) => ({ name, namespace: `${prefix}${name}`, nics: own }))
  return { id, router: `${prefix}router`, controlPlane: `${prefix}cp`, segments: laidOut, hosts }
}

/** Address number `n` of a subnet; throws UsageError beyond its last but one. */
export function nthAddress(subnet: Cidr, n: number): IpAddr {
  const size = 1n << BigInt(addressBits(familyOf(subnet)) - prefixLength(subnet))
  if (BigInt(n) >= size - 1n) throw new UsageError(`${subnet} has no address number ${n}`)
  return ipFromNumber(familyOf(subnet), ipToNumber(networkAddress(subnet)) + BigInt(n))
}

/** The same with the subnet's length behind it. */
export function interfaceAddress(subnet: Cidr, n: number): string {
  return `${nthAddress(subnet, n)}/${prefixLength(subnet)}`
}

function readSubnet(text: string): Cidr {
  const subnet = parseCidr(text)
  if (subnet === undefined) throw new UsageError(`segment subnet ${text} is not a CIDR such as 192.168.64.0/24`)
  return subnet
}
