import type { IpAddr } from '../../../../lib/address.ts'
import { type Comparison, phrase } from '../../kind.ts'
import type { Driver } from './driver.ts'

/** IPv4 in IPv4, no key, no device of ours with one far end. Source: RFC 2003; linux/if_tunnel.h, IFLA_IPTUN_*. */
export interface IpipDriver {
  readonly type: 'ipip'
  /** Outer packets leave by this device only; undefined: as the routes say. The device outlives it. */
  readonly underlay?: string
  readonly local?: IpAddr
  /** The only far end; undefined: every packet goes to the gateway of its route. */
  readonly remote?: IpAddr
  /** Of outer packets; 0: the inner packet's. */
  readonly ttl: number
  /** Outer packets may never be fragmented; false: not if the inner one may not. */
  readonly pathMtuDiscovery: boolean
  readonly encapsulation?: FouEncapsulation
}

/** The outer packet is carried in UDP: what a FOU port with IP protocol 4 at the far end unwraps. Ports in host byte order. */
export interface FouEncapsulation {
  readonly sourcePort: number
  readonly port: number
}

export const ipip: Driver<IpipDriver> = {
  type: 'ipip',
  compare,
  words,
  change: (_actual, desired) => words(desired),
}

// A far end makes the device point-to-point, for life. Underlay and encapsulation could change, but they take the MTU along.
function compare(actual: IpipDriver, desired: IpipDriver): Comparison {
  const kept =
    actual.remote === desired.remote &&
    actual.underlay === desired.underlay &&
    actual.encapsulation?.port === desired.encapsulation?.port &&
    actual.encapsulation?.sourcePort === desired.encapsulation?.sourcePort
  if (!kept) return 'recreate'
  const same =
    actual.local === desired.local && actual.ttl === desired.ttl && actual.pathMtuDiscovery === desired.pathMtuDiscovery
  return same ? 'same' : 'update'
}

function words({ remote, local, underlay, ttl, pathMtuDiscovery, encapsulation: fou }: IpipDriver): string {
  return phrase(
    'ipip',
    remote && `remote ${remote}`,
    local && `local ${local}`,
    underlay && `dev ${underlay}`,
    `ttl ${ttl === 0 ? 'inherit' : ttl}`,
    pathMtuDiscovery ? 'pmtudisc' : 'nopmtudisc',
    fou && `encap fou encap-sport ${fou.sourcePort} encap-dport ${fou.port}`,
  )
}
