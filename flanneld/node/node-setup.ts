import type { PrepareContext, Prepared } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { HostKernel } from '../../kernel/host.ts'
import { entriesOf, NO_ENTRIES, scopeOf, withEntries } from '../../kernel/reconciler/journal.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import { findOwnLease } from '../../subnet/own-lease.ts'
import type { Lease, LeaseSnapshot } from '../../subnet/types.ts'
import type { InterfaceWish } from '../host/external-interface.ts'
import { HostSurroundings } from '../host/host-surroundings.ts'
import { HostView } from '../host/host-view.ts'
import { InterfaceChoice } from '../host/interface-choice.ts'
import type { PeerVerdicts, PeerView } from '../leases/peer-view.ts'
import { reachOf } from './choose-way.ts'
import type { Configuration } from './configuration.ts'
import type { GuardOptions } from './guard-rules.ts'
import type { NodePlan, Planner } from './planner.ts'
import type { TrafficOptions } from './traffic-rules.ts'

/** The steps from a configuration to a plan, shared by the daemon and by `flanneld plan`. */

/** What this instance may come to own in the kernel under this configuration. */
export function footprintOf({
  backend,
  config,
  network,
}: Pick<Configuration, 'backend' | 'config' | 'network'>): OwnershipScope {
  const networks = [...network.families.values()].map((part) => ({ network: part.network, subnetLen: part.subnetLen }))
  return {
    devices: new Set(backend.devices(config, network)),
    fouPorts: new Set(backend.fouPorts?.(config) ?? []),
    networks,
  }
}

/** What of the last run decides about the interface of this one. */
export interface LastRun {
  readonly nodeId: string
  /** That it wrote to subnet.env. */
  readonly previousSubnets: ReadonlyMap<Family, Cidr>
}

/**
 * A host that has not been read yet. `overlay`: the own subnets and those of accepted peers, from when they are known; before
 * that the last run's.
 */
export function openHost(
  needs: { kernel: HostKernel; clock: Clock; overlay?: () => Iterable<Cidr> | undefined },
  options: { wish: InterfaceWish; network: NetworkConfig; devices: ReadonlySet<string> },
  last: LastRun & { snapshot: LeaseSnapshot },
): HostView {
  const lease = lastLease(last)
  const lastSubnets = [...subnetsOf(lease), ...last.previousSubnets.values()]
  const { wish, network, devices } = options
  const choice = new InterfaceChoice(
    { ...needs, overlay: () => needs.overlay?.() ?? lastSubnets },
    { wish, devices, families: [...network.families.keys()], previous: addressesOf(lease, wish) },
  )
  const networks = [...network.families.values()].map((part) => part.network)
  const surroundings = new HostSurroundings(needs, { networks })
  return new HostView({ ...needs, choose: (interfaces) => choice.look(interfaces), surroundings })
}

export function subnetsOf(lease: Lease | undefined): readonly Cidr[] {
  return [...(lease?.families.values() ?? [])].map(({ subnet }) => subnet)
}

// By NodeID; flannel's, which has none, by the subnet that it left in subnet.env.
function lastLease({ nodeId, previousSubnets, snapshot }: LastRun & { snapshot: LeaseSnapshot }): Lease | undefined {
  const own = findOwnLease(snapshot.leases, { node: nodeId, publicIps: new Map() })
  if (own !== undefined || previousSubnets.size === 0) return own
  const wasOurs = ({ node, families }: Lease) =>
    node === '' && [...previousSubnets].every(([family, subnet]) => families.get(family)?.subnet === subnet)
  return [...snapshot.leases.values()].find(wasOurs)
}

/** From which the packets came. A public address that was given as such says nothing of that. */
function addressesOf(lease: Lease | undefined, { publicIp: v4, publicIpv6: v6 }: InterfaceWish) {
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

export async function prepareBackend(
  { backend, config }: Configuration,
  context: Omit<PrepareContext, 'facts' | 'hasFou'>,
  host: HostView,
): Promise<Prepared<unknown>> {
  const facts = await host.facts(new Map(), 'unused')
  return await backend.prepare(config, { ...context, facts, hasFou: () => host.hasFou() })
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
  const used = ways.flatMap((way) => entriesOf(footprintOf({ ...way, network })))
  const scope = { ...scopeOf(withEntries(NO_ENTRIES, used)), instance: options.traffic.instance }
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
