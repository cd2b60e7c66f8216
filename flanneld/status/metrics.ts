import type { Counts, StatusDocument } from './status.ts'

/** Counts of observations by upper bound, as Prometheus wants them. */
export class Histogram {
  readonly bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  /** `bounds` in ascending order; a last one for the rest is understood. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.#counts = new Array<number>(bounds.length + 1).fill(0)
  }

  observe(value: number): void {
    const index = this.bounds.findIndex((bound) => value <= bound)
    const slot = index < 0 ? this.bounds.length : index
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1
    this.#sum += value
  }

  /** Cumulative counts per bound, the last for all. */
  read(): { readonly counts: readonly number[]; readonly sum: number } {
    let total = 0
    return { counts: this.#counts.map((count) => (total += count)), sum: this.#sum }
  }
}

/** Seconds; a pass that changes nothing takes milliseconds, one over 5,000 peers up to a second. */
export const RECONCILE_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5] as const

export interface MetricsInput {
  readonly status: StatusDocument
  readonly reconcileDuration: Histogram
  /** How late the event loop ran its last heartbeat. */
  readonly eventLoopLagSeconds: number
  readonly process: {
    readonly cpuSeconds: number
    readonly residentBytes: number
    readonly startTimeSeconds: number
  }
}

type Labels = Readonly<Record<string, string>>
type Sample = readonly [Labels, number]

/** Prometheus' text format 0.0.4; names and units as operators.md lists them. */
export function renderMetrics(input: MetricsInput): string {
  const { status, process } = input
  const { counters, datastore } = status
  return [
    family('flannel_build_info', 'gauge', 'Version of this daemon.', [[{ version: status.version }, 1]]),
    family('flannel_ready', 'gauge', 'Whether this node is ready.', [[{}, Number(status.ready)]]),
    family(
      'flannel_condition',
      'gauge',
      'Conditions that hold now.',
      status.conditions.map(({ code, severity }) => [{ code, severity }, 1]),
    ),
    family('flannel_leases', 'gauge', 'Leases by state.', leaseStates(status)),
    family(
      'flannel_peers',
      'gauge',
      'Peers by path and state.',
      tally(status.peers.map(({ path, state }) => ({ path, state }))),
    ),
    family(
      'flannel_lease_expiry_timestamp_seconds',
      'gauge',
      'When the own lease ends.',
      instant(status.lease?.expiresAt),
    ),
    family(
      'flannel_lease_renewals_total',
      'counter',
      'Renewals of the own lease.',
      byLabel('result', counters.leaseRenewals),
    ),
    family(
      'flannel_peers_rejected',
      'gauge',
      'Leases that are not followed, or not in both families, by reason.',
      rejectedByReason(status),
    ),
    family('flannel_datastore_up', 'gauge', 'Whether the datastore answers.', [[{}, Number(datastore.up)]]),
    family(
      'flannel_datastore_last_success_timestamp_seconds',
      'gauge',
      'Last proof that the view is current.',
      instant(datastore.lastSuccess),
    ),
    family(
      'flannel_datastore_resyncs_total',
      'counter',
      'Full lists, by cause.',
      byLabel('cause', counters.datastoreResyncs),
    ),
    histogram(
      'flannel_reconcile_duration_seconds',
      'Duration of the passes that changed the kernel.',
      input.reconcileDuration,
    ),
    family(
      'flannel_reconcile_errors_total',
      'counter',
      'Refusals by the kernel.',
      byLabel('kind', counters.reconcileErrors),
    ),
    family(
      'flannel_drift_repaired_total',
      'counter',
      'Objects put right after somebody else changed them.',
      byLabel('kind', counters.driftRepaired),
    ),
    family(
      'flannel_objects_adopted_total',
      'counter',
      'Objects taken over from flannel or by hand.',
      byLabel('kind', counters.adopted),
    ),
    family('flannel_netlink_overruns_total', 'counter', 'Overflows of the event queue.', [
      [{}, counters.netlinkOverruns],
    ]),
    ...backendChange(status),
    ...dataPlane(status),
    ...guard(status),
    family('flannel_event_loop_lag_seconds', 'gauge', 'Lateness of the last heartbeat.', [
      [{}, input.eventLoopLagSeconds],
    ]),
    family('process_cpu_seconds_total', 'counter', 'CPU time, user and system.', [[{}, process.cpuSeconds]]),
    family('process_resident_memory_bytes', 'gauge', 'Resident memory.', [[{}, process.residentBytes]]),
    family('process_start_time_seconds', 'gauge', 'Start, as Unix time.', [[{}, process.startTimeSeconds]]),
  ].join('')
}

function backendChange({ backendChange: change, endingConnections, counters }: StatusDocument): readonly string[] {
  const { finished, seconds, moves, fallBacks, probesAnswered, probesUnanswered } = counters.backendChanges
  const { moved, total } = change?.peers ?? { moved: 0, total: 0 }
  return [
    family('flannel_backend_change_active', 'gauge', 'Whether the backend is changing.', [
      [{}, Number(change !== null)],
    ]),
    family('flannel_backend_change_peers', 'gauge', 'Peers of the change, by the backend that they are reached by.', [
      [{ backend: 'new' }, moved],
      [{ backend: 'old' }, total - moved],
    ]),
    family(
      'flannel_backend_change_masqueraded_connections',
      'gauge',
      'Masqueraded connections that a change, under way or waiting, is going to end.',
      endingConnections?.count == null ? [] : [[{}, endingConnections.count]],
    ),
    family('flannel_backend_changes_total', 'counter', 'Changes of the backend that were finished.', [[{}, finished]]),
    family('flannel_backend_change_seconds_total', 'counter', 'What these took together.', [[{}, seconds]]),
    family('flannel_backend_change_moves_total', 'counter', 'Peers moved from one backend to another.', [
      [{ to: 'new' }, moves],
      [{ to: 'old' }, fallBacks],
    ]),
    family('flannel_backend_change_probes_total', 'counter', 'Rounds of probes, by result.', [
      [{ result: 'answered' }, probesAnswered],
      [{ result: 'unanswered' }, probesUnanswered],
    ]),
  ]
}

/** Only where this process carries packets itself. */
function dataPlane({ dataPlane }: StatusDocument): readonly string[] {
  if (dataPlane === null) return []
  const { packets, bytes, drops, deaths } = dataPlane
  return [
    family('flannel_dataplane_packets_total', 'counter', 'Packets carried.', byLabel('direction', packets)),
    family('flannel_dataplane_bytes_total', 'counter', 'Bytes of packets carried.', byLabel('direction', bytes)),
    family('flannel_dataplane_drops_total', 'counter', 'Packets dropped, by reason.', byLabel('reason', drops)),
    family('flannel_dataplane_deaths_total', 'counter', 'Workers that died and were replaced.', [[{}, deaths]]),
  ]
}

/** The label tells whether the packets were dropped or only counted. */
function guard({ guard }: StatusDocument): readonly string[] {
  if (guard === null) return []
  const samples = byLabel('rule', guard.refused).map(
    ([labels, count]) => [{ ...labels, mode: guard.mode }, count] as const,
  )
  return [
    family(
      'flannel_guard_dropped_packets_total',
      'counter',
      'Packets refused by the ingress guard: dropped in mode on, counted in mode count.',
      samples,
    ),
  ]
}

function leaseStates(status: StatusDocument): readonly Sample[] {
  const held = status.peers.filter(({ state }) => state === 'held').length
  // A lease that has lost one family is followed in the other one.
  const followed = new Set(status.peers.map(({ id }) => id))
  const rejected = new Set(status.rejected.flatMap(({ id }) => (followed.has(id) ? [] : [id])))
  return [
    [{ state: 'own' }, status.lease === null ? 0 : 1],
    [{ state: 'accepted' }, status.peers.length - held],
    [{ state: 'held' }, held],
    [{ state: 'rejected' }, rejected.size],
  ]
}

/** Each lease once for each of its reasons, however many families have it. */
function rejectedByReason({ rejected }: StatusDocument): readonly Sample[] {
  const rows = new Map(rejected.map(({ id, reason }) => [`${reason}\0${id}`, { reason }]))
  return tally([...rows.values()])
}

function byLabel(label: string, counts: Counts): readonly Sample[] {
  return Object.entries(counts).map(([value, count]) => [{ [label]: value }, count])
}

function tally(entries: readonly Labels[]): readonly Sample[] {
  const counts = new Map<string, { labels: Labels; count: number }>()
  for (const labels of entries) {
    const key = Object.values(labels).join('\0')
    const entry = counts.get(key)
    if (entry === undefined) counts.set(key, { labels, count: 1 })
    else entry.count += 1
  }
  return [...counts.values()].map(({ labels, count }) => [labels, count])
}

function instant(text: string | null | undefined): readonly Sample[] {
  return text === null || text === undefined ? [] : [[{}, Date.parse(text) / 1000]]
}

function family(name: string, type: 'gauge' | 'counter', help: string, samples: readonly Sample[]): string {
  return head(name, type, help) + samples.map(([labels, value]) => sample(name, labels, value)).join('')
}

function histogram(name: string, help: string, histogram: Histogram): string {
  const { counts, sum } = histogram.read()
  const buckets = counts.map((count, index) =>
    sample(`${name}_bucket`, { le: String(histogram.bounds[index] ?? '+Inf') }, count),
  )
  return `${head(name, 'histogram', help)}${buckets.join('')}${sample(`${name}_sum`, {}, sum)}${sample(`${name}_count`, {}, counts.at(-1) ?? 0)}`
}

function head(name: string, type: string, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`
}

function sample(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`)
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}\n`
}

function escapeLabel(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
