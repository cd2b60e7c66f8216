import type { HostFacts, Notice, PathState, Plan, SkippedPeer } from '../../backends/backend.ts'
import { carriedFamilies, familyNotices } from '../../backends/families.ts'
import { peersOf } from '../../backends/peers.ts'
import type { AnyBackend } from '../../backends/registry.ts'
import { blackholeRoute } from '../../backends/routes.ts'
import type { DesiredState, OwnershipScope } from '../../kernel/desired.ts'
import { type DesiredObject, keyOf } from '../../kernel/objects.ts'
import type { PacketPath } from '../../kernel/rules/packet-path.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import { olderFirst } from '../../subnet/own-lease.ts'
import type { Lease } from '../../subnet/types.ts'
import { sysctlReturns } from '../state/borrowed-sysctls.ts'
import { renderSubnetFile } from '../state/subnet-file.ts'
import { type GuardOptions, guardObjects, guardTable } from './guard-rules.ts'
import { type OwnPackets, ownPackets } from './own-packets.ts'
import { packetPaths } from './packet-paths.ts'
import { traitsOfAll, underlayInside } from './peer-traits.ts'
import { type TrafficOptions, trafficObjects } from './traffic-rules.ts'

/** The backend in use, its parsed configuration and what identifies this node in it. */
export interface ActiveBackend {
  readonly backend: AnyBackend
  readonly config: unknown
  readonly identity: unknown
}

export interface PlannerInput {
  readonly network: NetworkConfig
  readonly active: ActiveBackend
  readonly own: Lease
  /** Accepted peers only, by id. */
  readonly peers: ReadonlyMap<string, Lease>
  readonly facts: HostFacts
  readonly scope: OwnershipScope
  /** Sysctls of the host that are changed now, with their own values. */
  readonly borrowed: ReadonlyMap<string, string>
  /** Whether the peers are known in full: only then may anything be removed. */
  readonly complete: boolean
  readonly options: {
    readonly subnetFile: string
    readonly ipMasq: boolean
    readonly blackholeRoute: boolean
    /** Of the lease store's endpoints; a route of ours must not cover one. */
    readonly storeAddresses?: readonly IpAddr[]
    /** Undefined: no rules. */
    readonly traffic?: TrafficOptions
    /** Undefined: no ingress guard. */
    readonly guard?: GuardOptions | undefined
  }
}

export interface NodePlan {
  readonly desired: DesiredState & { readonly objects: PersistentMap<DesiredObject> }
  /** Of the desired objects those that belong to no peer. */
  readonly own: readonly DesiredObject[]
  readonly mtu: number
  readonly skipped: readonly SkippedPeer[]
  /** By lease id. */
  readonly paths: PersistentMap<PathState>
  readonly notices: readonly Notice[]
  /** Of which it is asked whether rules of other programs drop them. */
  readonly packetPaths: readonly PacketPath[]
  /** Of the peers together, as in `peer-traits.ts`: what the own objects were made from beside the input without its peers. */
  readonly traits: ReadonlySet<string>
}

/** All that this host shall hold: pure and total, the same for every order of the peers. */
export function planNode(input: PlannerInput): NodePlan {
  const { active, network } = input
  const { guard, traffic } = input.options
  const traits = traitsOfAll(network, input.peers.values())
  // Of two peers that want one kernel object the older wins.
  const { objects, mtu, skipped, paths, notices, ingress } = planPeers(
    input,
    [...input.peers.values()].sort(olderFirst),
    underlayInside(traits, input, input.options.storeAddresses),
  )
  const carried = carriedFamilies(active.backend, network)
  const hosts = ownPackets(input, ingress, carried)
  for (const object of ownObjects(input, mtu, hosts)) objects.set(keyOf(object), object)
  const guarding = guard && ingress ? guardObjects({ ...input, traits }, ingress, guard) : []
  for (const object of guarding) objects.set(keyOf(object), object)
  for (const object of sysctlReturns(input.borrowed, objects)) objects.set(keyOf(object), object)
  for (const [key, object] of objects) objects.set(key, withAlternatives(object, carried))
  return {
    desired: { objects: PersistentMap.from(objects), complete: input.complete, scope: input.scope },
    own: [...objects.values()].filter(({ role }) => role.class !== 'peer'),
    mtu,
    skipped,
    paths: PersistentMap.from(paths),
    notices: [...familyNotices(active.backend, network), ...notices],
    packetPaths: traffic ? packetPaths({ ...input, ingress }, traffic) : [],
    traits,
  }
}

/** What the backend plans for these peers, its own objects included, which are right only where `inside` is said. */
export function planPeers(
  { active, network, own, facts, options }: PlannerInput,
  leases: readonly Lease[],
  inside?: ReadonlySet<Family>,
): Plan {
  const { planned, skipped } = peersOf(leases, active.backend.wireType)
  const { config, identity } = active
  const guard = options.guard && { guard: guardTable(options.guard.instance) }
  const underlay = inside && { underlayInside: inside }
  const plan = active.backend.plan({ config, network, identity, own, peers: planned, facts, ...underlay, ...guard })
  return { ...plan, skipped: [...skipped, ...plan.skipped] }
}

/** One whole family is enough for a node: what belongs to another one may fail meanwhile. */
function withAlternatives(object: DesiredObject, carried: readonly Family[]): DesiredObject {
  const { role } = object
  if (role.class !== 'required' || role.family === undefined) return object
  const instead = carried.filter((family) => family !== role.family)
  return instead.length === 0 ? object : { ...object, role: { ...role, instead } }
}

function ownObjects(input: PlannerInput, mtu: number, hosts: ReadonlyMap<Family, OwnPackets>): DesiredObject[] {
  const { own, network, options } = input
  const subnets = [...own.families.values()].map((part) => part.subnet)
  return [
    ...(options.blackholeRoute ? subnets.map(blackholeRoute) : []),
    ...(options.traffic === undefined ? [] : trafficObjects(network, own, options.traffic, hosts)),
    {
      kind: 'file',
      role: { class: 'required' },
      path: options.subnetFile,
      content: renderSubnetFile({ network, own, mtu, ipMasq: options.ipMasq }),
      mode: 0o644,
    },
  ]
}
