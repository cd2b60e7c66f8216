import type { PrepareContext, Prepared } from '../backends/backend.ts'
import { backendFor } from '../backends/registry.ts'
import type { OwnershipScope } from '../kernel/desired.ts'
import type { HostKernel } from '../kernel/host.ts'
import type { Cidr } from '../lib/address.ts'
import type { Clock } from '../lib/clock.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import { findOwnLease } from '../subnet/own-lease.ts'
import type { Lease, LeaseSnapshot } from '../subnet/types.ts'
import type { GuardOptions } from './guard-rules.ts'
import type { InterfaceWish } from './host/external-interface.ts'
import { HostView, interfaceChooser } from './host/host-view.ts'
import type { PeerVerdicts, PeerView } from './leases/peer-view.ts'
import type { ActiveBackend, NodePlan } from './planner.ts'
import type { Replanner } from './replanner.ts'
import type { TrafficOptions } from './traffic-rules.ts'

/** The steps from a configuration to a plan, shared by the daemon and by `flanneld plan`. */

/** The backend of a checked configuration, not yet identified; unknown keys go to `warn`. */
export function activate(network: NetworkConfig, warn: (text: string) => void): ActiveBackend {
  const backend = backendFor(network.backendType)
  const warnings: string[] = []
  const config = backend.parseConfig(network.backend, warnings)
  for (const warning of [...network.warnings, ...warnings]) warn(warning)
  return { backend, config, identity: undefined }
}

/** What this instance may come to own in the kernel under this configuration. */
export function footprintOf({ backend, config }: ActiveBackend, network: NetworkConfig): OwnershipScope {
  const networks = [...network.families.values()].map((part) => ({ network: part.network, subnetLen: part.subnetLen }))
  return {
    devices: new Set(backend.devices(config, network)),
    fouPorts: new Set(backend.fouPorts?.(config) ?? []),
    networks,
  }
}

/** Throws NoInterfaceError when no interface fits. */
export async function readHost(
  needs: { kernel: HostKernel; clock: Clock },
  wish: InterfaceWish,
  network: NetworkConfig,
): Promise<HostView> {
  const choose = interfaceChooser(needs.kernel, wish, [...network.families.keys()])
  const host = new HostView({ ...needs, choose })
  await host.read()
  return host
}

/** The lease that this node held before this start. */
export function previousLease(snapshot: LeaseSnapshot, node: string, host: HostView): Lease | undefined {
  return findOwnLease(snapshot.leases, { node, publicIps: host.external.publicIps })
}

export async function prepareBackend(
  active: ActiveBackend,
  context: Omit<PrepareContext, 'facts' | 'hasFou'>,
  host: HostView,
): Promise<Prepared<unknown>> {
  const facts = await host.facts(new Map(), 'unused')
  return await active.backend.prepare(active.config, { ...context, facts, hasFou: () => host.hasFou() })
}

export interface PlanSources {
  readonly network: NetworkConfig
  readonly active: ActiveBackend
  readonly host: HostView
  readonly own: Lease
  readonly snapshot: LeaseSnapshot
  readonly scope: OwnershipScope
  readonly borrowed: ReadonlyMap<string, string>
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
  { peers, planner }: { readonly peers: PeerView; readonly planner: Replanner },
  options: PlanOptions,
): Promise<{ verdicts: PeerVerdicts; plan: NodePlan }> {
  const { network, active, host, own, snapshot, borrowed } = sources
  const scope = { ...sources.scope, instance: options.traffic.instance }
  const hostRanges: readonly Cidr[] = host.ranges(scope.devices)
  const verdicts = peers.judge({ snapshot, own, network, hostRanges })
  const reach = active.backend.reach(active.config)
  const facts = await host.facts(verdicts.planned, reach, borrowed)
  const peersAndFacts = { peers: verdicts.planned, facts, complete: true }
  const plan = planner.plan({ network, active, own, scope, borrowed, options, ...peersAndFacts })
  return { verdicts, plan }
}
