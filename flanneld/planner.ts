import type { HostFacts, Notice, PathState, SkippedPeer } from '../backends/backend.ts'
import { familyNotices } from '../backends/families.ts'
import { peersOf } from '../backends/peers.ts'
import type { AnyBackend } from '../backends/registry.ts'
import { blackholeRoute } from '../backends/routes.ts'
import type { DesiredState, OwnershipScope } from '../kernel/desired.ts'
import { type DesiredObject, keyOf } from '../kernel/objects.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import type { Lease } from '../subnet/types.ts'
import { sysctlReturns } from './state/borrowed-sysctls.ts'
import { renderSubnetFile } from './state/subnet-file.ts'
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
  /** Accepted peers only; their order does not matter. */
  readonly peers: readonly Lease[]
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
    /** Undefined: no rules. */
    readonly traffic?: TrafficOptions
  }
}

export interface NodePlan {
  readonly desired: DesiredState
  readonly mtu: number
  readonly skipped: readonly SkippedPeer[]
  /** By lease id. */
  readonly paths: ReadonlyMap<string, PathState>
  readonly notices: readonly Notice[]
}

/** All that this host shall hold: pure and total, the same for every order of the peers. */
export function planNode(input: PlannerInput): NodePlan {
  const { active, network, own, facts } = input
  const peers = [...input.peers].sort(olderFirst)
  const { planned, skipped } = peersOf(peers, active.backend.wireType)
  const plan = active.backend.plan({
    config: active.config,
    network,
    identity: active.identity,
    own,
    peers: planned,
    facts,
  })
  const { objects } = plan
  for (const object of ownObjects(input, plan.mtu)) objects.set(keyOf(object), object)
  for (const object of sysctlReturns(input.borrowed, objects)) objects.set(keyOf(object), object)
  return {
    desired: { objects, complete: input.complete, scope: input.scope },
    mtu: plan.mtu,
    skipped: [...skipped, ...plan.skipped],
    paths: plan.paths,
    notices: [...familyNotices(active.backend, network), ...plan.notices],
  }
}

// Of two peers that want one kernel object the older wins, whatever order they came in.
function olderFirst(a: Lease, b: Lease): number {
  if (a.age !== b.age) return a.age < b.age ? -1 : 1
  return a.id < b.id ? -1 : 1
}

function ownObjects(input: PlannerInput, mtu: number): DesiredObject[] {
  const { own, network, options } = input
  const subnets = [...own.families.values()].map((part) => part.subnet)
  return [
    ...(options.blackholeRoute ? subnets.map(blackholeRoute) : []),
    ...(options.traffic === undefined ? [] : trafficObjects(network, own, options.traffic)),
    {
      kind: 'file',
      role: { class: 'required' },
      path: options.subnetFile,
      content: renderSubnetFile({ network, own, mtu, ipMasq: options.ipMasq }),
      mode: 0o644,
    },
  ]
}
