import type { DesiredObject } from '../../kernel/objects.ts'
import { type Family, type MacAddr, networkAddress } from '../../lib/address.ts'
import { InvalidLease } from '../../lib/errors.ts'
import type { LocalFacts, LocalInput, LocalPlan, PeerInput, PeerPlan, PlannedPeer, Reach } from '../backend.ts'
import { SMALLEST_MTU } from '../devices.ts'
import { looseReversePath, looseUplink } from '../reverse-path.ts'
import { gatewayRoute, nexthopRoute, tunnelAddress } from '../routes.ts'
import { VXLAN_HEADERS, type VxlanConfig } from './config.ts'
import { decodeVtep } from './vtep.ts'

/** The own MAC per family; each family has its own device. */
export type VtepIdentity = ReadonlyMap<Family, MacAddr>

type Input = LocalInput<VxlanConfig, VtepIdentity>

/** Per family one device and its address. Source: RFC 7348; names and values as flannel's. */
export function planVxlan(input: Input): LocalPlan {
  const { config, devices, facts, network } = input
  const families = [...network.families.keys()]
  const tunnels = new Map([...devices.names].filter(([family]) => network.families.has(family)))
  const uplink = config.directRouting && facts.strictReversePath ? [looseUplink(facts.external.name)] : []
  return {
    objects: [...families.flatMap((family) => localObjects(input, family)), ...uplink],
    mtu: Math.min(...families.map((family) => deviceMtu(input, family))),
    notices: [],
    ingress: {
      tunnels,
      outer: [{ type: 'vxlan', port: config.port, vni: config.vni }],
    },
  }
}

/** A route, and unless the peer is reached directly, a neighbour and an FDB entry. */
export function planVxlanPeer(
  input: PeerInput<VxlanConfig, VtepIdentity>,
  peer: PlannedPeer,
  reach: Reach | undefined,
): PeerPlan {
  const direct = input.config.directRouting && reach?.answered ? reach.onLink : undefined
  const vtep = direct === undefined ? peerMac(input, peer) : undefined
  if (typeof vtep === 'object') return vtep
  const { role, family } = peer
  const { subnet, publicIp } = peer.part
  const device = direct ?? input.tunnels.get(family) ?? ''
  if (vtep === undefined) {
    const route = gatewayRoute(role, { dst: subnet, via: publicIp, device, onLink: false })
    return { path: 'direct', objects: [route] }
  }
  // An address that only the neighbour entry knows.
  const way = { dst: subnet, via: networkAddress(subnet), device }
  return {
    path: 'tunnel',
    objects: [
      { kind: 'neighbour', role, family, device, address: way.via, mac: vtep },
      { kind: 'fdb', role, device, mac: vtep, dst: publicIp },
      ...(input.nexthops ? nexthopRoute(role, way) : [gatewayRoute(role, { ...way, onLink: true })]),
    ],
  }
}

/** Whether the peer's VTEP is one of this VNI. */
export function fitsVni({ vni }: VxlanConfig, family: Family, data: unknown): boolean {
  try {
    return isSameVni(decodeVtep(data, fieldOf(family)).vni, vni)
  } catch {
    return false
  }
}

/** Bytes of outer headers, by the family that they are of. */
const OVERHEAD: Readonly<Record<Family, number>> = { 4: VXLAN_HEADERS, 6: VXLAN_HEADERS + 20 }

/** Over IPv6 the kernel makes the device smaller than flannel says. */
function deviceMtu(input: Input, family: Family): number {
  const external = input.facts.external.mtu
  const wanted = (input.config.outerMtu ?? external) - OVERHEAD[4]
  return Math.min(wanted, external - OVERHEAD[family])
}

function localObjects(input: Input, family: Family): DesiredObject[] {
  const { config, devices, facts, identity, own } = input
  const name = devices.names.get(family)
  if (name === undefined) return []
  const subnet = own.families.get(family)?.subnet
  const local = tunnelSource(facts, family)
  const mac = identity.get(family)
  return [
    {
      kind: 'link',
      role: { class: 'required', family },
      name,
      mtu: deviceMtu(input, family),
      up: true,
      ...(mac === undefined ? {} : { mac }),
      driver: {
        type: 'vxlan',
        vni: config.vni,
        underlay: facts.external.name,
        port: config.port,
        learning: config.learning,
        gbp: config.gbp,
        ...(local === undefined ? {} : { local }),
      },
    },
    ...(subnet === undefined ? [] : [tunnelAddress(name, networkAddress(subnet), addressRemedy(input, family, name))]),
    ...deviceSysctls(family, name),
  ]
}

// Source: flannel's backends.md; so nodes of a mixed cluster with another VNI are two networks on purpose.
const LEAST_VNI_OF_WINDOWS = 4096

/** The public address where the host owns it, else the interface's: a foreign one could not be a source. */
export function tunnelSource(facts: LocalFacts, family: Family) {
  const publicIp = facts.external.publicIps.get(family)
  if (publicIp !== undefined && facts.ownAddresses.has(publicIp)) return publicIp
  return facts.external.addresses.get(family)
}

/** What mends it that the kernel has no IPv6 on so small a device; undefined where it is no smaller than it may be. */
function addressRemedy(input: Input, family: Family, device: string): string | undefined {
  const mtu = deviceMtu(input, family)
  const least = SMALLEST_MTU[family]
  if (mtu >= least) return undefined
  const [outer, uplink] = [least + OVERHEAD[4], least + OVERHEAD[family]]
  const config = (input.config.outerMtu ?? outer) < outer ? `Backend.MTU at least ${outer} and ` : ''
  const name = input.facts.external.name
  return `IPv${family} needs an MTU of ${least} on ${device}, which gets ${mtu}: make ${config}the MTU of ${name} at least ${uplink}`
}

function deviceSysctls(family: Family, device: string): readonly DesiredObject[] {
  if (family === 4) return [looseReversePath(device)]
  const sysctl = (name: string): DesiredObject => {
    const path = `net/ipv6/conf/${device}/${name}`
    return { kind: 'sysctl', path, value: '0', role: { class: 'advisory', remedy: `echo 0 > /proc/sys/${path}` } }
  }
  // New devices are born without IPv6 where the host's default says so. Router advertisements from a container must not
  // change the host's routes.
  return [sysctl('disable_ipv6'), sysctl('accept_ra')]
}

/** Or why the peer's data name no VTEP of ours. */
function peerMac(
  { config, identity }: PeerInput<VxlanConfig, VtepIdentity>,
  { family, data }: PlannedPeer,
): MacAddr | { readonly reason: string; readonly text: string } {
  try {
    const { vni, mac } = decodeVtep(data, fieldOf(family))
    if (!isSameVni(vni, config.vni)) {
      const isWindows = vni >= LEAST_VNI_OF_WINDOWS && config.vni < LEAST_VNI_OF_WINDOWS
      return { reason: isWindows ? 'other-vni' : 'invalid-vtep', text: `VNI ${vni} is not ours (${config.vni})` }
    }
    if (mac === identity.get(family)) return { reason: 'invalid-vtep', text: `VtepMAC ${mac} is our own` }
    return mac
  } catch (cause) {
    if (!(cause instanceof InvalidLease)) throw cause
    return { reason: 'invalid-vtep', text: cause.message }
  }
}

function isSameVni(theirs: number, ours: number): boolean {
  return theirs === 0 || theirs === ours
}

/** Of a lease, as operators know it. */
function fieldOf(family: Family): string {
  return family === 4 ? 'BackendData' : 'BackendV6Data'
}
