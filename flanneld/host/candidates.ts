import type { HostInterface } from '../../kernel/host.ts'
import type { IpAddr } from '../../lib/address.ts'

/** Of an interface only this is looked at. */
export type Candidate = Pick<
  HostInterface,
  'name' | 'index' | 'mtu' | 'up' | 'running' | 'loopback' | 'kind' | 'master' | 'addresses'
>

/** What of this host belongs to the overlay and can never carry it. */
export interface OverlayParts {
  /** Names of the devices of this instance. */
  readonly devices: ReadonlySet<string>
  /** Whether the address lies in the own subnet or in that of an accepted peer. */
  readonly holds: (address: IpAddr) => boolean
  /** Addresses in use: a network card keeps one, though the own subnet may have been leased around it. */
  readonly inUse: ReadonlySet<IpAddr>
}

/** Every name that flannel and this program give to a device, of whatever instance. */
const FLANNEL_DEVICE = /^flannel((-v6)?[._-]\d+|[012]|[.-]ipip|-wg(-v6)?)$/

const NONE: ReadonlySet<IpAddr> = new Set()

/** Ports that lead to containers and virtual machines on this host, or that carry no packets at all. */
const INWARD_PORTS: readonly string[] = ['veth', 'tun', 'vxlan', 'dummy']

/**
 * Where the interface for traffic between hosts may be looked for: no device of flannel's, no bridge of containers in the
 * overlay, no address of the overlay. (Hosts may live inside `Network`; only subnets count.)
 */
export function candidatesOf<C extends Candidate>(interfaces: readonly C[], overlay: OverlayParts): readonly C[] {
  return interfaces.flatMap((each) => {
    if (overlay.devices.has(each.name) || FLANNEL_DEVICE.test(each.name)) return []
    const inUse = leadsOut(each, interfaces) ? overlay.inUse : NONE
    const addresses = each.addresses.filter(({ address }) => inUse.has(address) || !overlay.holds(address))
    if (addresses.length === each.addresses.length) return [each]
    return each.kind === 'bridge' ? [] : [{ ...each, addresses }]
  })
}

/**
 * Whether packets to other hosts could leave by it. Not by an interface that is down, like the one that holds the service
 * addresses of kube-proxy, nor by a bridge with containers only, like Docker's.
 */
export function leadsOut(candidate: Candidate, interfaces: readonly Candidate[]): boolean {
  if (!candidate.up) return false
  if (candidate.kind !== 'bridge') return true
  return interfaces.some(({ master, kind }) => master === candidate.index && !INWARD_PORTS.includes(kind))
}
