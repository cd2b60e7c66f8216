import type { DesiredObject, Role } from '../../kernel/objects.ts'
import { type Family, familyOf, type MacAddr, networkAddress } from '../../lib/address.ts'
import { InvalidLease } from '../../lib/errors.ts'
import type { FamilyLease } from '../../subnet/types.ts'
import type { HostFacts, Plan, PlanInput, PlannedPeer } from '../backend.ts'
import { SMALLEST_MTU } from '../devices.ts'
import { guardBasis, guardPeer, guardVariant } from '../ingress-guard.ts'
import { PeerMemo } from '../peer-memo.ts'
import { familyPlan, type PeerPlan, planFamilies } from '../peer-plan.ts'
import { PlanBuilder } from '../plan-builder.ts'
import { looseReversePath, looseUplink } from '../reverse-path.ts'
import { gatewayRoute, tunnelAddress } from '../routes.ts'
import { VXLAN_HEADERS, type VxlanConfig } from './config.ts'
import { decodeVtep, vtepDevice } from './vtep.ts'

/** The own MAC per family; each family has its own device. */
export type VtepIdentity = ReadonlyMap<Family, MacAddr>

type Input = PlanInput<VxlanConfig, VtepIdentity>
/** Names of the own devices: each once, and not once for each peer. */
type Devices = ReadonlyMap<Family, string>

const memo = new PeerMemo()

/**
 * Per family one device and its address; per peer a route, and unless it is reached directly, a neighbour and an FDB
 * entry. Source: RFC 7348; names and values as flannel's.
 */
export function planVxlan(input: Input): Plan {
  const plan = new PlanBuilder()
  const families = [...input.network.families.keys()]
  for (const family of families) plan.add(...localObjects(input, family))
  if (input.config.directRouting && input.facts.strictReversePath) plan.add(looseUplink(input.facts.external.name))
  memo.begin([input.config, input.network, input.identity, ...guardBasis(input)])
  const devices = new Map(families.map((family) => [family, vtepDevice(family, input.config.vni)]))
  plan.comesIn({
    tunnels: devices,
    outer: [{ type: 'vxlan', port: input.config.port, vni: input.config.vni }],
  })
  for (const peer of input.peers) {
    const { lease } = peer
    const direct = families.map((family) => directDevice(input, lease.families.get(family)) ?? '')
    plan.addPeer(
      lease.id,
      memo.of(lease, `${direct.join(' ')} ${guardVariant(input, lease)}`, () => planPeer(input, peer, devices)),
    )
  }
  return plan.build(Math.min(...families.map((family) => deviceMtu(input, family))))
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
  const { config, facts, identity, own } = input
  const name = vtepDevice(family, config.vni)
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
export function tunnelSource(facts: HostFacts, family: Family) {
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

function planPeer(input: Input, { lease, path }: PlannedPeer, devices: Devices): PeerPlan {
  const role: Role = { class: 'peer', peer: lease.id }
  return planFamilies(lease, { families: devices.keys(), reason: 'invalid-vtep' }, (family, part) => {
    const tunnel = devices.get(family) ?? ''
    const guarded = guardPeer(input, part, tunnel, role)
    const direct = directDevice(input, part)
    if (direct === undefined) {
      return familyPlan('tunnel', [...guarded, ...tunnelObjects(input, part, path.data.get(family), { tunnel, role })])
    }
    const route = gatewayRoute(role, { dst: part.subnet, via: part.publicIp, device: direct, onLink: false })
    return familyPlan('direct', [...guarded, route])
  })
}

/** Where the peer is reached without the tunnel; undefined: nowhere. */
function directDevice({ config, facts }: Input, part: FamilyLease | undefined): string | undefined {
  const reach = config.directRouting && part ? facts.reach.get(part.publicIp) : undefined
  return reach?.answered ? reach.onLink : undefined
}

/** Throws InvalidLease where the peer's data names no VTEP of ours. */
function tunnelObjects(
  input: Input,
  { subnet, publicIp }: FamilyLease,
  data: unknown,
  { tunnel: device, role }: { readonly tunnel: string; readonly role: Role },
): readonly DesiredObject[] {
  const family = familyOf(subnet)
  const vtep = decodeVtep(data, family === 4 ? 'BackendData' : 'BackendV6Data')
  if (vtep.vni !== 0 && vtep.vni !== input.config.vni) {
    const isWindows = vtep.vni >= LEAST_VNI_OF_WINDOWS && input.config.vni < LEAST_VNI_OF_WINDOWS
    const reason = isWindows ? { reason: 'other-vni' } : {}
    throw new InvalidLease(`VNI ${vtep.vni} is not ours (${input.config.vni})`, reason)
  }
  if (vtep.mac === input.identity.get(family)) throw new InvalidLease(`VtepMAC ${vtep.mac} is our own`)
  const gateway = networkAddress(subnet)
  return [
    { kind: 'neighbour', role, family, device, address: gateway, mac: vtep.mac },
    { kind: 'fdb', role, device, mac: vtep.mac, dst: publicIp },
    gatewayRoute(role, { dst: subnet, via: gateway, device, onLink: true }),
  ]
}
