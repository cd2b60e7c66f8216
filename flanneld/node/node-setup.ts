import type { Way } from '../../backends/way.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { HostKernel } from '../../kernel/host.ts'
import { entriesOf, NO_ENTRIES, scopeOf, withEntries } from '../../kernel/reconciler/journal.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import { findOwnLease } from '../../subnet/own-lease.ts'
import type { Lease, LeaseSnapshot, PeerPath } from '../../subnet/types.ts'
import type { InterfaceOptions } from '../host/external-interface.ts'
import { HostSurroundings } from '../host/host-surroundings.ts'
import { HostView } from '../host/host-view.ts'
import { InterfaceChoice } from '../host/interface-choice.ts'
import type { PeerVerdicts, PeerView } from '../leases/peer-view.ts'
import { reachOf } from './choose-way.ts'
import type { Configuration } from './configuration.ts'
import type { GuardOptions } from './guard-rules.ts'
import type { LevelSet } from './levels.ts'
import type { NodePlan, Planner } from './planner.ts'
import type { TrafficOptions } from './traffic-rules.ts'

/** The steps from a configuration to a plan, shared by the daemon and by `flanneld plan`. */

/** What this instance may come to own in the kernel under these configurations. */
export function footprintOf(
  configurations: readonly Pick<Configuration, 'backend' | 'config' | 'network'>[],
): OwnershipScope {
  const used = configurations.flatMap(({ backend, config, network }) =>
    entriesOf({
      devices: new Set(backend.devices(config, network)),
      fouPorts: new Set(backend.fouPorts?.(config) ?? []),
      networks: Array.from(network.families.values(), (part) => ({ network: part.network, subnetLen: part.subnetLen })),
    }),
  )
  return scopeOf(withEntries(NO_ENTRIES, used))
}

/** What of the last run decides about the interface of this one. */
export interface LastRun {
  readonly nodeId: string
  /** That it wrote to subnet.env. */
  readonly previousSubnets: ReadonlyMap<Family, Cidr>
}

/** A host that has not been read yet. Families, networks and the last run's lease are asked for when it is read, from the levels. */
export function openHost(
  needs: {
    readonly kernel: HostKernel
    readonly clock: Clock
    readonly levels: LevelSet
    readonly devices: () => ReadonlySet<string>
    /** The own subnets and those of accepted peers, from when they are known; before that the last run's count. */
    readonly overlay: () => Iterable<Cidr> | undefined
  },
  options: LastRun & { readonly interfaceOptions: InterfaceOptions },
): HostView {
  const { interfaceOptions, previousSubnets } = options
  const { levels } = needs
  const families = () => levels.current.configuration?.network.families ?? NO_FAMILIES
  const last = () => lastLease(options, levels.current.leases?.leases ?? NO_LEASES)
  const choice = new InterfaceChoice(
    {
      ...needs,
      families: () => [...families().keys()],
      previous: () => addressesOf(last(), interfaceOptions),
      overlay: () => needs.overlay() ?? [...subnetsOf(last()), ...previousSubnets.values()],
    },
    { interfaceOptions },
  )
  const networks = () => Array.from(families().values(), (part) => part.network)
  const surroundings = new HostSurroundings({ ...needs, networks })
  return new HostView({ ...needs, choose: (interfaces) => choice.look(interfaces), surroundings })
}

const NO_FAMILIES: NetworkConfig['families'] = new Map()
const NO_LEASES: LeaseSnapshot['leases'] = new Map()

export function subnetsOf(lease: Lease | undefined): readonly Cidr[] {
  return [...(lease?.families.values() ?? [])].map(({ subnet }) => subnet)
}

// By NodeID; flannel's, which has none, by the subnet that it left in subnet.env.
function lastLease({ nodeId, previousSubnets }: LastRun, leases: LeaseSnapshot['leases']): Lease | undefined {
  const own = findOwnLease(leases, { node: nodeId, publicIps: new Map() })
  if (own !== undefined || previousSubnets.size === 0) return own
  const wasOurs = ({ node, families }: Lease) =>
    node === '' && [...previousSubnets].every(([family, subnet]) => families.get(family)?.subnet === subnet)
  return [...leases.values()].find(wasOurs)
}

/** From which the packets came. A public address that was given as such says nothing of that. */
function addressesOf(lease: Lease | undefined, { publicIp: v4, publicIpv6: v6 }: InterfaceOptions) {
  const addresses = new Map<Family, IpAddr>()
  for (const [family, { tunnelIp, publicIp }] of lease?.families ?? []) {
    if (tunnelIp !== undefined) addresses.set(family, tunnelIp)
    else if (publicIp !== v4 && publicIp !== v6) addresses.set(family, publicIp)
  }
  return addresses
}

/** The lease that this node held before this start. */
export function previousLease(snapshot: LeaseSnapshot, node: string, host: HostView): Lease | undefined {
  return findOwnLease(snapshot.leases, { node, publicIps: host.external.publicIps })
}

/** What that lease says about this way of the node. Where it says one thing only, it is taken for the way before a restart. */
export function pathOf({ primary, accepts }: Lease, { backend, config, network }: Configuration): PeerPath | undefined {
  if (accepts.length === 0) return primary
  const families = [...network.families.keys()]
  return accepts.find(
    (path) =>
      path.backend === backend.wireType &&
      families.every((family) => backend.fits?.(config, family, path.data.get(family)) ?? true),
  )
}

export interface PlanSources {
  readonly network: NetworkConfig
  readonly ways: readonly Way[]
  readonly host: HostView
  readonly own: Lease
  readonly snapshot: LeaseSnapshot
  /** Names of all devices of ours, of earlier configurations, too. */
  readonly ours: ReadonlySet<string>
  /** Sysctls that are changed now, with the host's own values. */
  readonly originals: ReadonlyMap<string, string>
  readonly storeAddresses: readonly IpAddr[]
  /** Whether the last plan has a route at this key (`keyOf`), whatever stands there at the moment. */
  readonly isPlanned: (key: string) => boolean
}

export interface PlanOptions {
  readonly subnetFile: string
  readonly ipMasq: boolean
  readonly blackholeRoute: boolean
  readonly traffic: TrafficOptions
  readonly guard?: GuardOptions | undefined
}

/** Judges the peers, looks up how they are reached and plans; `peers` and `planner` remember the last time. */
export async function planAll(
  sources: PlanSources,
  { peers, planner }: { readonly peers: PeerView; readonly planner: Planner },
  options: PlanOptions,
): Promise<{ verdicts: PeerVerdicts; plan: NodePlan }> {
  const { network, ways, host, own, snapshot, ours, originals, storeAddresses, isPlanned } = sources
  const scope = { ...footprintOf(ways.map((way) => ({ ...way, network }))), instance: options.traffic.instance }
  const surroundings = host.surroundings({ ours, storeAddresses, isPlanned })
  const verdicts = peers.judge({ snapshot, own, network, surroundings })
  const facts = await host.facts(verdicts.planned, reachOf(ways), originals)
  const peersAndFacts = { peers: verdicts.planned, facts, complete: true }
  const plan = planner.plan({
    network,
    ways,
    own,
    scope,
    options: { ...options, storeAddresses },
    ...peersAndFacts,
  })
  return { verdicts, plan }
}
