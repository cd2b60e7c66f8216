import type { DataPlaneCounts } from '../../backends/backend.ts'
import type { Failure, ReconcileCounts } from '../../kernel/desired.ts'
import { FAMILIES, type Family } from '../../lib/address.ts'
import { olderFirst } from '../../subnet/own-lease.ts'
import type { Lease, StoreHealth } from '../../subnet/types.ts'
import type { AgentView } from '../node/agent-needs.ts'
import {
  type Counts,
  type GuardStatus,
  type LastingCondition,
  overallState,
  type PeerStatus,
  type PerFamily,
  type StatusDocument,
} from './status.ts'

export interface StatusFacts {
  readonly version: string
  readonly pid: number
  readonly nodeId: string
  readonly subnetFile: string
  /** Wall clock, ms. */
  readonly startedAt: number
  readonly now: number
  readonly notReady: readonly string[]
  readonly conditions: readonly LastingCondition[]
  readonly view: AgentView
  readonly failures: ReadonlyMap<string, Failure>
  readonly counts: ReconcileCounts
  /** Undefined: this process carries no packets. */
  readonly dataPlane: DataPlaneCounts | undefined
  /** Undefined: switched off. */
  readonly guard: GuardStatus | undefined
}

/** The status document of one moment; pure. */
export function statusDocument(facts: StatusFacts): StatusDocument {
  const { view, conditions } = facts
  const { configuration } = view
  const peers = peerStatuses(view, facts.failures)
  const ready = facts.notReady.length === 0
  return {
    apiVersion: 'flannel.status/v1',
    version: facts.version,
    pid: facts.pid,
    startedAt: new Date(facts.startedAt).toISOString(),
    now: new Date(facts.now).toISOString(),
    state: overallState({ ready, conditions, peers }),
    ready,
    notReady: facts.notReady,
    nodeId: facts.nodeId,
    subnetFile: facts.subnetFile,
    external: externalOf(view),
    network: configuration === undefined ? null : perFamily(configuration.network.families, (part) => part.network),
    lease: leaseOf(view),
    backend: backendOf(view),
    backendChange: view.change ?? null,
    endingConnections: view.ending ?? null,
    conditions,
    peers,
    rejected: view.verdicts?.rejected ?? view.leases?.unreadable ?? [],
    counters: countersOf(view, facts.counts),
    dataPlane: facts.dataPlane ?? null,
    guard: facts.guard ?? null,
    datastore: datastoreOf(view.store),
  }
}

function externalOf({ host }: AgentView): StatusDocument['external'] {
  if (host === undefined) return null
  const { name, mtu, addresses, publicIps, reason } = host.external
  return {
    interface: name,
    mtu,
    addresses: perFamily(addresses, (address) => address),
    publicIps: perFamily(publicIps, (address) => address),
    reason,
  }
}

function leaseOf({ lease: state }: AgentView): StatusDocument['lease'] {
  if (state?.at !== 'held' && state?.at !== 'recorded') return null
  const { lease, expiresAt } = state.own
  return {
    id: lease.id,
    subnets: perFamily(lease.families, (part) => part.subnet),
    expiresAt: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
  }
}

function backendOf({ configuration, ways, plan }: AgentView): StatusDocument['backend'] {
  if (configuration === undefined || ways === undefined || plan === undefined) return null
  const devices = ways.flatMap((way) => [...way.devices.names.values()])
  return { type: ways[0].backend.type, mtu: plan.mtu, devices }
}

function peerStatuses(view: AgentView, failures: ReadonlyMap<string, Failure>): readonly PeerStatus[] {
  const { verdicts, plan, host } = view
  if (verdicts === undefined || plan === undefined) return []
  const broken = new Map<string, string>()
  for (const [key, { object, text }] of failures) {
    if (object.role.class === 'peer' && !broken.has(object.role.peer)) broken.set(object.role.peer, `${key}: ${text}`)
  }
  const skipped = new Map<string, string>()
  for (const { id, reason, text } of plan.skipped) {
    skipped.set(id, [...(skipped.has(id) ? [skipped.get(id)] : []), `${reason}: ${text}`].join('; '))
  }
  const silent = new Set(host?.paths.silent() ?? [])
  return [...verdicts.planned.values()].sort(olderFirst).map((lease) => {
    const path = plan.paths.get(lease.id) ?? 'none'
    const unanswered = path === 'direct' && [...lease.families.values()].some(({ publicIp }) => silent.has(publicIp))
    const degraded = broken.get(lease.id) ?? (unanswered ? 'its address has not answered for 10 s' : undefined)
    const skip = skipped.get(lease.id)
    return {
      id: lease.id,
      node: lease.node,
      ...leaseFamilies(lease),
      path,
      ...stateOf({ held: verdicts.held.has(lease.id), path, skip, degraded }),
    }
  })
}

function stateOf(peer: {
  held: boolean
  path: PeerStatus['path']
  skip: string | undefined
  degraded: string | undefined
}): Pick<PeerStatus, 'state' | 'reason'> {
  // One of its families may be served all the same.
  if (peer.skip !== undefined) return { state: peer.path === 'none' ? 'skipped' : 'degraded', reason: peer.skip }
  if (peer.degraded !== undefined) return { state: 'degraded', reason: peer.degraded }
  if (peer.held) return { state: 'held', reason: 'its lease vanished together with many others' }
  return { state: 'ok', reason: '' }
}

function leaseFamilies(lease: Lease): { subnets: PerFamily; publicIps: PerFamily } {
  return {
    subnets: perFamily(lease.families, (part) => part.subnet),
    publicIps: perFamily(lease.families, (part) => part.publicIp),
  }
}

function countersOf({ renewals, store, changeCounts }: AgentView, counts: ReconcileCounts): StatusDocument['counters'] {
  return {
    driftRepaired: countsOf(counts.driftRepaired),
    adopted: countsOf(counts.adopted),
    reconcileErrors: countsOf(counts.errors),
    netlinkOverruns: counts.overruns,
    leaseRenewals: { ...renewals },
    datastoreResyncs: countsOf(store?.resyncs ?? new Map()),
    backendChanges: changeCounts,
  }
}

function datastoreOf(store: StoreHealth | undefined): StatusDocument['datastore'] {
  return {
    up: store?.up ?? false,
    endpoint: store?.endpoint ?? null,
    lastSuccess: store?.lastSuccess === undefined ? null : new Date(store.lastSuccess).toISOString(),
    error: store?.error ?? null,
  }
}

function countsOf(counts: ReadonlyMap<string, number>): Counts {
  return Object.fromEntries(counts)
}

function perFamily<T>(values: ReadonlyMap<Family, T>, text: (value: T) => string): PerFamily {
  const names: Record<Family, keyof PerFamily> = { 4: 'ipv4', 6: 'ipv6' }
  const entries = FAMILIES.flatMap((family) => {
    const value = values.get(family)
    return value === undefined ? [] : [[names[family], text(value)] as const]
  })
  return Object.fromEntries(entries)
}
