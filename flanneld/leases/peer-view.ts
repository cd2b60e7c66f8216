import type { SkippedPeer } from '../../backends/backend.ts'
import type { Cidr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import type { PersistentMap } from '../../lib/persistent-map.ts'
import { type HoldState, holdVanished, nothingHeld } from '../../subnet/hold.ts'
import type { PeerRuleInput } from '../../subnet/lease-verdict.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import { acceptPeers, PeerJudge } from '../../subnet/peer-rules.ts'
import type { Overlap } from '../../subnet/route-overlaps.ts'
import type { Harm, Surroundings } from '../../subnet/surroundings.ts'
import type { Lease, LeaseSnapshot, RejectedLease } from '../../subnet/types.ts'

/** Which peers are planned, and why the others are not. */
export interface PeerVerdicts {
  /** Accepted or held, by id. */
  readonly planned: PersistentMap<Lease>
  /** Ids of peers that vanished together with many others and are kept for a while. */
  readonly held: ReadonlySet<string>
  readonly rejected: readonly RejectedLease[]
  /** What of this host lies beside accepted peers and changes nothing. */
  readonly overlaps: readonly Overlap[]
  /** What is wrong with the own subnet on this host. */
  readonly own: readonly Harm[]
}

/** Judges every snapshot as a whole, remembers who was there, and says each rejection once. */
export class PeerView {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: { protectedRanges: readonly Cidr[]; holdMs: number }
  readonly #sayRejected: (rejected: readonly RejectedLease[]) => void
  readonly #saySkipped: (skipped: readonly SkippedPeer[]) => void
  readonly #judge = new PeerJudge()
  #hold: HoldState = nothingHeld

  constructor(needs: { clock: Clock; log: Logger }, options: { protectedRanges: readonly Cidr[]; holdMs: number }) {
    this.#clock = needs.clock
    this.#log = needs.log
    this.#options = options
    this.#sayRejected = sayOnce(needs.log, 'lease rejected')
    this.#saySkipped = sayOnce(needs.log, 'peer skipped')
  }

  judge(input: {
    snapshot: LeaseSnapshot
    own: Lease
    network: NetworkConfig
    surroundings: Surroundings
  }): PeerVerdicts {
    const { protectedRanges, holdMs } = this.#options
    const rules = { ...input, protectedRanges }
    const { accepted, rejected, overlaps, own } = this.#judge.judge(rules)
    const before = this.#hold.held.size
    const isStored = storedIn(input.snapshot)
    this.#hold = holdVanished(this.#hold, accepted, { now: this.#clock.now(), holdMs, isStored })
    const kept = [...this.#hold.held.values()].map(({ lease }) => lease)
    if (kept.length > before) this.#log.warn('many peers vanished at once and are held', { peers: kept.length })
    const { held, refused } = kept.length === 0 ? NONE_HELD : judgeHeld(rules, accepted, kept)
    const all = [...rejected, ...refused]
    this.#sayRejected(all)
    const planned = accepted.patched([], held)
    return { planned, held: new Set(held.keys()), rejected: all, overlaps, own }
  }

  /** When the next held peer is let go, on the clock that never goes back; undefined: none is held. */
  nextRelease(): number | undefined {
    const times = [...this.#hold.held.values()].map(({ until }) => until)
    return times.length === 0 ? undefined : Math.min(...times)
  }

  /** Logs what keeps peers from being planned, each once. */
  skipped(peers: readonly SkippedPeer[]): void {
    this.#saySkipped(peers)
  }
}

const NONE_HELD = { held: new Map<string, Lease>(), refused: [] as readonly RejectedLease[] }

/** The host may have changed since they vanished: they are judged as if they were there still. */
function judgeHeld(rules: PeerRuleInput, accepted: PersistentMap<Lease>, kept: readonly Lease[]) {
  const ids = new Set(kept.map(({ id }) => id))
  const leases = accepted.patched(
    [],
    kept.map((lease) => [lease.id, lease] as const),
  )
  const verdicts = acceptPeers({ ...rules, snapshot: { ...rules.snapshot, leases, unreadable: [] } })
  const held = new Map(
    kept.flatMap(({ id }) => {
      const left = verdicts.accepted.get(id)
      return left === undefined ? [] : [[id, left] as const]
    }),
  )
  return { held, refused: verdicts.rejected.filter(({ id }) => ids.has(id)) }
}

function storedIn({ leases, unreadable }: LeaseSnapshot): (id: string) => boolean {
  const broken = new Set(unreadable.map(({ id }) => id))
  return (id) => leases.has(id) || broken.has(id)
}

/** Logs rows that are new or have another reason than the last time. */
function sayOnce(log: Logger, message: string) {
  let said: ReadonlySet<string> = new Set()
  return (rows: readonly RejectedLease[]) => {
    const now = new Set<string>()
    for (const { id, family, reason, text } of rows) {
      // A peer may have a reason in each family.
      const row = `${id} ${family ?? ''} ${reason}`
      if (!said.has(row) && !now.has(row)) log.warn(message, { id, reason, why: text })
      now.add(row)
    }
    said = now
  }
}
