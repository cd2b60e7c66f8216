import type { DataPlaneCounts } from '../../backends/backend.ts'
import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import type { RejectedLease } from '../../subnet/types.ts'
import type { EndedConnections } from '../config/ended-connections.ts'
import type { ChangeCounts, ChangeStatus } from '../switch/change-status.ts'

/** How much a condition weighs: an `error` takes the node out of service, a `warning` degrades it, an `info` is only worth knowing. */
export type ConditionSeverity = 'error' | 'warning' | 'info'

export interface Condition {
  /** Short stable words, as in `config-missing`; the documentation lists them. */
  readonly code: string
  readonly severity: ConditionSeverity
  /** One sentence. */
  readonly text: string
  /** What the operator can do; never empty. */
  readonly remedy: string
}

export interface LastingCondition extends Condition {
  /** RFC 3339, UTC: since when it holds, whatever its text said meanwhile. */
  readonly since: string
}

const WEIGHT: Readonly<Record<ConditionSeverity, number>> = { error: 0, warning: 1, info: 2 }

/** What is true of this node now. Setting a condition again changes its text and keeps its beginning. */
export class ConditionSet {
  /** Counts what `onChange` hears of. */
  readonly changes = new Latest<number>('conditions')
  readonly #clock: Clock
  readonly #onChange: (change: { readonly condition: LastingCondition; readonly holds: boolean }) => void
  readonly #conditions = new Map<string, LastingCondition>()
  readonly #groups = new Map<string, ReadonlySet<string>>()
  #count = 0

  /** `onChange` hears of a condition that begins, ends, or changes its severity or its text. */
  constructor(needs: {
    clock: Clock
    onChange?: (change: { readonly condition: LastingCondition; readonly holds: boolean }) => void
  }) {
    this.#clock = needs.clock
    this.#onChange = needs.onChange ?? (() => {})
  }

  set(condition: Condition): void {
    const { code, severity, text, remedy } = condition
    const before = this.#conditions.get(code)
    if (before?.severity === severity && before.text === text && before.remedy === remedy) return
    const since = before?.since ?? new Date(this.#clock.wall()).toISOString()
    const lasting = { code, severity, since, text, remedy }
    this.#conditions.set(code, lasting)
    this.#tell(lasting, true)
  }

  clear(code: string): void {
    const before = this.#conditions.get(code)
    if (before === undefined) return
    this.#conditions.delete(code)
    this.#tell(before, false)
  }

  /** The whole truth of one part of the program: what it said before and says no more is cleared. */
  replace(group: string, conditions: readonly Condition[]): void {
    const codes = new Set(conditions.map(({ code }) => code))
    for (const code of this.#groups.get(group) ?? []) if (!codes.has(code)) this.clear(code)
    this.#groups.set(group, codes)
    for (const condition of conditions) this.set(condition)
  }

  has(code: string): boolean {
    return this.#conditions.has(code)
  }

  /** The weightiest first, then the oldest. */
  list(): readonly LastingCondition[] {
    return [...this.#conditions.values()].sort(
      (a, b) => WEIGHT[a.severity] - WEIGHT[b.severity] || compareText(a.since, b.since) || compareText(a.code, b.code),
    )
  }

  #tell(condition: LastingCondition, holds: boolean): void {
    this.#onChange({ condition, holds })
    this.#count += 1
    this.changes.set(this.#count)
  }
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** A value per family; an absent family is not enabled. */
export interface PerFamily {
  readonly ipv4?: string
  readonly ipv6?: string
}

export interface PeerStatus {
  /** Name of its lease in the store. */
  readonly id: string
  /** NodeID; empty for flannel. */
  readonly node: string
  readonly subnets: PerFamily
  readonly publicIps: PerFamily
  /** How packets to it travel; `none`: not at all. */
  readonly path: 'tunnel' | 'direct' | 'none'
  readonly state: 'ok' | 'degraded' | 'held' | 'skipped'
  /** Why it is not `ok`; empty where it is. */
  readonly reason: string
}

export type Counts = Readonly<Record<string, number>>

/** Numbers that only grow since the start. */
export interface StatusCounters {
  readonly driftRepaired: Counts
  readonly adopted: Counts
  readonly reconcileErrors: Counts
  readonly netlinkOverruns: number
  /** By result: `ok`, `failed`. */
  readonly leaseRenewals: Counts
  /** By cause. */
  readonly datastoreResyncs: Counts
  readonly backendChanges: ChangeCounts
}

/** What the ingress guard has refused: counted, and with `on` dropped. */
export interface GuardStatus {
  readonly mode: 'on' | 'count'
  /** Packets by rule, as in `outer-source`, since the guard was set up. */
  readonly refused: Counts
  /** Of the last hour; the last one first. */
  readonly offenders: readonly {
    readonly rule: string
    readonly source: string
    /** That the packet came in by. */
    readonly device: string
    readonly packets: number
    readonly lastSeen: string
  }[]
}

/** What the socket serves. Fields are added, never changed or removed. Times are RFC 3339 in UTC. */
export interface StatusDocument {
  readonly apiVersion: 'flannel.status/v1'
  readonly version: string
  readonly pid: number
  readonly startedAt: string
  readonly now: string
  /** `down`: not ready. `degraded`: ready, with a condition of weight or a peer that is not as it should be. */
  readonly state: 'ok' | 'degraded' | 'down'
  readonly ready: boolean
  /** Why not ready; a line each. */
  readonly notReady: readonly string[]
  readonly nodeId: string
  readonly subnetFile: string
  readonly external: {
    readonly interface: string
    readonly mtu: number
    readonly addresses: PerFamily
    readonly publicIps: PerFamily
    readonly reason: string
  } | null
  readonly network: PerFamily | null
  readonly lease: {
    readonly id: string
    readonly subnets: PerFamily
    /** Null for a reservation. */
    readonly expiresAt: string | null
  } | null
  readonly backend: { readonly type: string; readonly mtu: number; readonly devices: readonly string[] } | null
  readonly conditions: readonly LastingCondition[]
  readonly peers: readonly PeerStatus[]
  /** One for each reason: a lease has several where each family has one. With `family` it may be among the peers with its other one. */
  readonly rejected: readonly RejectedLease[]
  readonly counters: StatusCounters
  /** Null: this process carries no packets, the kernel does. */
  readonly dataPlane: DataPlaneCounts | null
  /** Null: switched off. */
  readonly guard: GuardStatus | null
  /** Null: the node has one backend and is not about to have another one. */
  readonly backendChange: ChangeStatus | null
  /** Masqueraded connections that a change of the backend, under way or waiting, is going to end. Null: there is none. */
  readonly endingConnections: EndedConnections | null
  readonly datastore: {
    readonly up: boolean
    readonly endpoint: string | null
    readonly lastSuccess: string | null
    readonly error: string | null
  }
}

/** The one word for it all; `flanneld status` makes its exit code of it. */
export function overallState(facts: {
  readonly ready: boolean
  readonly conditions: readonly Condition[]
  readonly peers: readonly Pick<PeerStatus, 'state'>[]
}): StatusDocument['state'] {
  if (!facts.ready) return 'down'
  const weighty = facts.conditions.some(({ severity }) => severity !== 'info')
  return weighty || facts.peers.some(({ state }) => state === 'degraded' || state === 'held') ? 'degraded' : 'ok'
}
