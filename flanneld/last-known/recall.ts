import type { Family, IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import type { Source } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { Lease, StoreHealth } from '../../subnet/types.ts'
import type { LeaseKeeper } from '../leases/lease-keeper.ts'
import type { ConfigWatch } from '../node/config-watch.ts'
import { type Configuration, parseConfiguration } from '../node/configuration.ts'
import type { LevelSet } from '../node/levels.ts'
import type { StateFiles } from '../state/state-files.ts'
import type { ConditionSet } from '../status/status.ts'
import { RECORD } from './keep.ts'
import { type KnownDocument, type LastKnown, type Moment, parseRecord } from './record.ts'
import { goodForMs, type Here, whyForeign, whyOtherNetwork } from './trust.ts'

/** A store that has neither told all leases nor refused by then counts as out of reach. */
const SILENT_MS = 5_000

export interface RecallNeeds {
  readonly files: Pick<StateFiles, 'path' | 'read'>
  readonly clock: Clock
  readonly log: Logger
  readonly conditions: ConditionSet
  readonly here: Here
  readonly moment: () => Moment
  readonly levels: LevelSet
  readonly storeHealth: Source<StoreHealth>
  readonly config: Pick<ConfigWatch, 'recall'>
  readonly keeper: Pick<LeaseKeeper, 'recall'>
  /** Hears which public addresses an operator had put into the store. */
  readonly onGiven: (given: ReadonlyMap<Family, IpAddr>) => void
}

/**
 * A daemon that starts while its store is out of reach, or does not tell it all leases, goes on with what it knew: peers, and the own
 * lease for as long as that is certain. Nothing is removed by it, and the leases of the store take its place. Ends then, or at once where
 * there is nothing that can be believed.
 */
export async function recallLastKnown(needs: RecallNeeds, signal: AbortSignal): Promise<void> {
  const { log, conditions, levels, keeper, clock } = needs
  if (!(await untilSilent(needs, signal))) return
  const record = await readRecord(needs)
  if (record === undefined) return
  const why = await whyUnusable(needs, record, signal)
  if (signal.aborted || levels.current.leases !== undefined) return
  if (why !== undefined) {
    log.warn('last known leases not used', { file: `${needs.files.path}/${RECORD}`, why })
    return
  }
  const { own, peers, revision, written, given } = record
  const goodMs = goodForMs(record, needs.moment())
  const since = new Date(written.wall).toISOString()
  log.warn('leases cannot be read, going on with what was known', { since, peers: peers.size, own: own.lease.id })
  const said = `the leases have not been read since the start; ${peers.size} peers are those of ${since}`
  const remedy = 'none is removed; peers that came since then are not reached before they are read'
  conditions.replace('last known', [{ code: 'last-known', severity: 'warning', text: said, remedy }])
  needs.onGiven(given)
  keeper.recall(own, goodMs > 0)
  const leases = new Map<string, Lease>([[own.lease.id, own.lease], ...peers])
  levels.set({ leases: { revision, leases, unreadable: [], recorded: true } })
  const answered = new AbortController()
  await untilFirst([signal, answered.signal], async (stop) => {
    const expiring = goodMs === Number.POSITIVE_INFINITY ? undefined : clock.sleep(goodMs, stop)
    const expired = expiring?.then(
      () => keeper.recall(own, false),
      () => {},
    )
    for await (const { leases: now } of levels.changes.watch(stop)) if (now !== undefined && !now.recorded) break
    answered.abort()
    await expired
  })
  conditions.replace('last known', [])
  if (!signal.aborted) await sayOtherCluster(needs, record, signal)
}

/** Whether the store can be taken for out of reach; false: it has told all leases, or the signal is aborted. */
async function untilSilent({ levels, storeHealth, clock }: RecallNeeds, signal: AbortSignal): Promise<boolean> {
  const over = new AbortController()
  await untilFirst([signal, over.signal], async (stop) => {
    const answered = async () => {
      for await (const { leases } of levels.changes.watch(stop)) if (leases !== undefined) over.abort()
    }
    const refused = async () => {
      for await (const { error } of storeHealth.watch(stop)) if (error !== undefined) over.abort()
    }
    const late = clock.sleep(SILENT_MS, stop).then(
      () => over.abort(),
      () => {},
    )
    await Promise.all([answered(), refused(), late])
  })
  return !signal.aborted && levels.current.leases === undefined
}

/** Undefined: there is none, or none that can be read, which goes to the log. */
async function readRecord({ files, log }: RecallNeeds): Promise<LastKnown | undefined> {
  try {
    const text = await files.read(RECORD)
    return text === undefined ? undefined : parseRecord(text)
  } catch (cause) {
    log.warn('last known leases not used', { file: `${files.path}/${RECORD}`, why: messageOf(cause) })
    return undefined
  }
}

async function whyUnusable(needs: RecallNeeds, record: LastKnown, signal: AbortSignal): Promise<string | undefined> {
  const { levels, config } = needs
  const foreign = whyForeign(record, needs.here)
  if (foreign !== undefined) return foreign
  if (record.store.kind === 'etcd' && levels.current.configuration === undefined) {
    if (record.document === undefined) return 'its network configuration holds a secret and was not kept'
    const recorded = configurationIn(record.document)
    const fault = typeof recorded === 'string' ? recorded : whyOtherNetwork(record, recorded.network)
    if (typeof recorded === 'string' || fault !== undefined) return fault
    config.recall(recorded)
  }
  await levels.known(['configuration'], signal).catch(() => {})
  const network = levels.current.configuration?.network
  return network && whyOtherNetwork(record, network)
}

/** Or why it cannot be used. */
function configurationIn({ text, origin }: KnownDocument): Configuration | string {
  try {
    return parseConfiguration(text, origin)
  } catch (cause) {
    if (cause instanceof ConfigError) return `its network configuration cannot be used: ${cause.message}`
    throw cause
  }
}

/** As after a restored backup: who is missing there is held for a while by the rule that holds for any snapshot. */
async function sayOtherCluster({ log, storeHealth }: RecallNeeds, { store }: LastKnown, signal: AbortSignal) {
  for await (const { cluster } of storeHealth.watch(signal)) {
    if (cluster === undefined) return
    if (store.cluster !== '' && cluster !== store.cluster)
      log.warn('the lease store is another one than that of the record', { now: cluster, before: store.cluster })
    return
  }
}
