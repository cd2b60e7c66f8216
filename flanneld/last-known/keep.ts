import type { Family, IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import { changesBetween } from '../../lib/persistent-map.ts'
import type { StoreHealth } from '../../subnet/types.ts'
import type { LeaseState } from '../leases/lease-keeper.ts'
import type { AgentView } from '../node/agent-needs.ts'
import type { StateFiles } from '../state/state-files.ts'
import { type KnownDocument, type LastKnown, type Moment, recordText } from './record.ts'
import { type Here, holdsSecret } from './trust.ts'

export const RECORD = 'snapshot.json'
/** Between two writes: thousands of leases are a megabyte, and a disk may be a card. */
const PERIOD_MS = 30_000

export interface KeepNeeds {
  readonly files: Pick<StateFiles, 'keep'>
  readonly clock: Clock
  readonly here: Here
  readonly moment: () => Moment
  /** Rings when any of this may have changed. */
  readonly changes: Source<unknown>
  readonly view: () => AgentView
  readonly given: () => ReadonlyMap<Family, IpAddr>
}

/** Of a view all that is known for certain; undefined: not enough. */
interface Facts extends Pick<LastKnown, 'own' | 'networks'> {
  readonly view: Required<Pick<AgentView, 'configuration' | 'verdicts' | 'leases'>>
  readonly store: StoreHealth | undefined
}

/** Keeps the record equal to what is known, but for half a minute, until the signal is aborted. */
export async function keepLastKnown(needs: KeepNeeds, signal: AbortSignal): Promise<void> {
  const { files, clock } = needs
  const effect = 'started while the lease store cannot be reached, this node would know what it knew before only'
  let kept: Facts | undefined
  for await (const _ of needs.changes.watch(signal)) {
    const facts = factsOf(needs.view())
    if (facts === undefined || (kept !== undefined && isSame(kept, facts))) continue
    kept = facts
    const written = needs.moment()
    // The text of thousands of leases lives no longer than the write.
    await files.keep(RECORD, () => recordText(recordOf(facts, needs, written)), effect)
    await clock.sleep(PERIOD_MS, signal).catch(() => {})
  }
}

/** After a clean-up nothing is known. */
export async function forgetLastKnown(files: Pick<StateFiles, 'remove'>): Promise<void> {
  await files.remove(RECORD)
}

function factsOf({ configuration, verdicts, leases, lease, store, isCurrent }: AgentView): Facts | undefined {
  if (configuration === undefined || verdicts === undefined || leases === undefined || leases.recorded) return undefined
  // All leases may be known by now, and the peers still be planned of what was known before: of the last run, or of this node alone.
  if (!isCurrent) return undefined
  const own = ownOf(lease)
  if (own === undefined) return undefined
  const networks = new Map([...configuration.network.families].map(([family, { network }]) => [family, network]))
  return { own, networks, view: { configuration, verdicts, leases }, store }
}

function ownOf(state: LeaseState | undefined): LastKnown['own'] | undefined {
  return state?.at === 'held' ? state.own : undefined
}

function isSame(a: Facts, b: Facts): boolean {
  return (
    a.own === b.own &&
    a.view.configuration === b.view.configuration &&
    a.store?.cluster === b.store?.cluster &&
    changesBetween(a.view.verdicts.planned, b.view.verdicts.planned).length === 0
  )
}

function recordOf({ own, networks, view, store }: Facts, { here, given }: KeepNeeds, written: Moment): LastKnown {
  const document = documentOf(view.configuration, here)
  return {
    written,
    nodeId: here.nodeId,
    store: { ...here.store, cluster: store?.cluster ?? '' },
    networks,
    ...(document && { document }),
    given: given(),
    revision: view.leases.revision,
    own,
    peers: view.verdicts.planned,
  }
}

/** A file is there without the store. */
function documentOf({ text, origin }: KnownDocument, { store }: Here): KnownDocument | undefined {
  if (store.kind === 'kubernetes' || holdsSecret(JSON.parse(text))) return undefined
  return { text, origin }
}
