import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { type NetworkConfig, parseNetworkConfig } from '../../subnet/network-config.ts'
import type { Lease, LeaseSnapshot, RejectedLease } from '../../subnet/types.ts'

export function networkOf(document: object): NetworkConfig {
  return parseNetworkConfig(JSON.stringify({ Backend: { Type: 'vxlan' }, ...document }), 'test')
}

export interface LeaseSketch {
  readonly ip?: string
  readonly ip6?: string
  readonly node?: string
  readonly age?: number
  readonly reserved?: boolean
  readonly mac?: string
  readonly backend?: string
  readonly tunnelIp?: string
}

/** A lease of `10.5.52.0/24`, or of `10.5.52.0/24 fc00:0:0:1::/64`, with whatever matters to the test. */
export function lease(subnets: string, sketch: LeaseSketch = {}): Lease {
  const {
    ip = '192.168.64.9',
    ip6 = 'fd00::9',
    node = '',
    age = 1,
    reserved = false,
    mac,
    backend = 'vxlan',
    tunnelIp,
  } = sketch
  const cidrs = subnets.split(' ')
  const families = cidrs.map((text) => {
    const family: Family = text.includes(':') ? 6 : 4
    const publicIp = (family === 4 ? ip : ip6) as IpAddr
    const tunnel = tunnelIp === undefined ? {} : { tunnelIp: tunnelIp as IpAddr }
    return [family, { subnet: text as Cidr, publicIp, ...tunnel }] as const
  })
  const data = mac === undefined ? [] : [[4, { VNI: 1, VtepMAC: mac }] as const]
  return {
    id: cidrs.map((text) => text.replace('/', '-')).join('&'),
    node,
    primary: { backend, data: new Map<Family, unknown>(data) },
    accepts: [],
    families: new Map(families),
    age: String(age).padStart(20, '0'),
    reserved,
  }
}

export function snapshot(leases: readonly Lease[], unreadable: readonly RejectedLease[] = []): LeaseSnapshot {
  return { revision: '1', leases: new Map(leases.map((one) => [one.id, one])), unreadable }
}
