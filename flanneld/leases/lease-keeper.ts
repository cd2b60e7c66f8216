import type { Clock } from '../../lib/clock.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import { runTogether } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import { CLAIM_MS } from '../../subnet/address-claim.ts'
import { hasFamiliesOf } from '../../subnet/lease-families.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import {
  type AcquireHints,
  type LeaseAttrs,
  type LeaseConflict,
  LeaseConflictError,
  type LeaseStore,
  type LeaseWait,
  type OwnLease,
  type Rival,
} from '../../subnet/types.ts'
import type { LeaseKeeperOptions, LeaseWant } from './keeper-options.ts'
import { ownId, stillRivals, subnetsIn } from './keeper-rules.ts'
import { isOlder, sameAttrs, sameLease } from './lease-comparison.ts'
import { spreadMs } from './spread.ts'

/** Whether this node may say that its subnet is its own. */
export type LeaseState =
  | { readonly at: 'acquiring'; readonly waitingFor?: string; readonly remedy?: string }
  | { readonly at: 'held'; readonly own: OwnLease }
  /** That of the last run, while the store cannot be asked; unless `isGood`, it may have expired meanwhile. */
  | { readonly at: 'recorded'; readonly own: OwnLease; readonly isGood: boolean }
  | { readonly at: 'lost'; readonly last: OwnLease; readonly conflict: LeaseConflict; readonly text: string }

/** The task whose refusals are the operator's to settle at any time: another host holds the lease. */
export const OWN_LEASE = 'own lease'

/** The last write that the store has confirmed. */
interface Published {
  readonly attrs: LeaseAttrs
  readonly own: OwnLease
  /** On the monotonic clock; infinite for a reservation. */
  readonly renewAt: number
  /** Of the store, in which this was written: in another one its revisions say nothing about this write. */
  readonly history: number
  /** For which the families were asked for; and when to ask again for one that it lacks. */
  readonly network: NetworkConfig
  readonly againAt: number
}

const DEFAULT_RETRY_MS = 60_000
/** Of a timer. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1

/**
 * Holds the own lease: acquires it, renews it, publishes changes of our address, answers claims to it, notices its loss and takes the
 * same subnet again if that is free. Never overwrites somebody else's and never gives up. When to write is never remembered: what is
 * wanted, what was published and what the store shows are compared each time.
 */
export class LeaseKeeper {
  readonly state = new Latest<LeaseState>('state of the own lease')
  readonly renewals = { ok: 0, failed: 0 }
  readonly #store: LeaseStore
  readonly #clock: Clock
  readonly #log: Logger
  readonly #random: () => number
  readonly #options: LeaseKeeperOptions
  readonly #retryMs: number
  #want: LeaseWant | undefined
  #published: Published | undefined
  /** How often the store was emptied or restored. */
  #history = 0
  /** The version of the own entry that was compared last: a later one must be compared, too. */
  #judged: string | undefined
  /** When we last wrote over each rival's entry. */
  readonly #overwrote = new Map<Rival, number>()
  /** A subnet has become free, and it is about to ask for it. */
  #isAsking = false
  /** Aborted: something may have changed, look again. */
  #wake = new AbortController()

  /** `random`: from 0 to below 1. */
  constructor(
    needs: { store: LeaseStore; clock: Clock; log: Logger; random: () => number },
    options: LeaseKeeperOptions,
  ) {
    this.#random = needs.random
    this.#store = needs.store
    this.#clock = needs.clock
    this.#log = needs.log
    this.#options = options
    this.#retryMs = options.retryMs ?? DEFAULT_RETRY_MS
    this.state.set({ at: 'acquiring' })
  }

  /** From now on, and published at once when it differs; before the first call nothing is leased. */
  setWant(want: LeaseWant): void {
    const before = this.#want
    if (before !== undefined && want.network === before.network && sameAttrs(want.attrs, before.attrs)) return
    this.#want = want
    this.#wake.abort()
  }

  /** Before the store has answered: the lease of the last run, and whether it can be relied upon. */
  recall(own: OwnLease, isGood: boolean): void {
    const state = this.state.current
    const isAsked = state?.at === 'recorded' || (state?.at === 'acquiring' && state.waitingFor === undefined)
    if (isAsked) this.state.set({ at: 'recorded', own, isGood })
  }

  /** Runs until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await runTogether([(stop) => this.#watch(stop), (stop) => this.#keep(stop)], signal)
  }

  async #keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const state = this.state.current
      const [want, published] = [this.#want, this.#published]
      if (want === undefined) await this.#pause(LONGEST_SLEEP_MS, signal)
      else if (state?.at === 'held' && published !== undefined) await this.#hold(want, published, signal)
      else await this.#acquire(want, state, signal)
    }
  }

  async #acquire({ attrs, network }: LeaseWant, state: LeaseState | undefined, signal: AbortSignal): Promise<void> {
    const lost = state?.at === 'lost' ? state : undefined
    const served = state?.at === 'recorded' && state.isGood ? state.own : undefined
    const last = lost?.last ?? served
    const only = lost && { only: subnetsIn(network, lost.last.lease), yieldTo: stillRivals(lost.conflict) }
    const kept = served && { keep: subnetsIn(network, served.lease) }
    const waiting = (wait: LeaseWait | undefined) => this.#waiting(wait)
    const beside = this.#beside()
    this.#judged = lost && this.#store.entry(lost.last.lease.id)?.version
    try {
      const run = await this.#options.lastRun(network)
      const occupied = (await this.#options.occupied?.()) ?? []
      const hints = { network, ...run, occupied, waiting, ...beside, ...only, ...kept }
      const own = await this.#store.acquire(attrs, hints, signal)
      this.#held(attrs, own, network)
    } catch (cause) {
      if (signal.aborted) return
      // Nothing was known of it before.
      if (served !== undefined) this.#judged = this.#store.entry(served.lease.id)?.version
      if (last === undefined) this.#notAcquired(cause)
      else this.#lost(cause, last)
      await this.#pause(this.#retryMs, signal)
    }
  }

  #beside(): Pick<AcquireHints, 'surroundings' | 'protectedRanges'> {
    const { surroundings, protectedRanges } = this.#options
    return { ...(surroundings && { surroundings }), ...(protectedRanges && { protectedRanges }) }
  }

  #waiting(wait: LeaseWait | undefined): void {
    const at = this.state.current?.at
    // The store has answered: what was on record is no longer so.
    if (at !== 'acquiring' && (at !== 'recorded' || wait === undefined)) return
    this.state.set({ at: 'acquiring', ...(wait && { waitingFor: wait.text, remedy: wait.remedy }) })
  }

  #held(attrs: LeaseAttrs, own: OwnLease, network: NetworkConfig): void {
    const { lease, expiresAt, over } = own
    const fields = { id: lease.id, expires: expiresAt === undefined ? 'never' : new Date(expiresAt).toISOString() }
    if (this.state.current?.at !== 'held') this.#log.info('subnet leased', fields)
    else this.#log.info('lease renewed', fields)
    const left = expiresAt === undefined ? Number.POSITIVE_INFINITY : expiresAt - this.#clock.wall()
    const renewAt = this.#clock.now() + Math.max(1_000, left - this.#options.renewMarginMs)
    if (over !== undefined) this.#overwrote.set(over, this.#clock.now())
    const againAt = own.lacks === undefined ? Number.POSITIVE_INFINITY : this.#clock.now() + this.#retryMs
    this.#published = { attrs, own, renewAt, history: this.#history, network, againAt }
    this.state.set({ at: 'held', own })
  }

  #notAcquired(cause: unknown): void {
    const text = messageOf(cause)
    // Two hosts with one address: neither waiting nor another subnet would help.
    if (cause instanceof LeaseConflictError && cause.conflict.type === 'public-address-taken') {
      const expected = `must be an address that no other node has; ${text}. Name the interface with this host's own address by --iface`
      throw new ConfigError('public-ip', expected, cause.conflict.publicIp)
    }
    const previous = this.state.current
    if (previous?.at !== 'acquiring' || previous.waitingFor !== text)
      this.#log.warn('no subnet leased yet', { why: text })
    this.state.set({ at: 'acquiring', waitingFor: text })
  }

  /** Whatever is refused, and why: which subnet was ours is kept, running containers have its addresses. */
  #lost(cause: unknown, last: OwnLease): void {
    const text = messageOf(cause)
    const previous = this.state.current
    if (cause instanceof LeaseConflictError) {
      if (previous?.at !== 'lost' || previous.text !== text) this.#log.error('own lease lost', { why: text })
      this.state.set({ at: 'lost', last, conflict: cause.conflict, text })
    } else {
      this.#log.warn('lost lease not taken again', { why: text, retryInSeconds: this.#retryMs / 1000 })
    }
  }

  async #hold({ attrs, network }: LeaseWant, published: Published, signal: AbortSignal): Promise<void> {
    const now = this.#clock.now()
    const isRenewal = published.renewAt <= now
    const isShown = this.#isShown(published)
    const isSaid = isShown && !isRenewal && sameAttrs(attrs, published.attrs)
    const { lease } = published.own
    const lacks = !hasFamiliesOf(lease, network)
    const isAsked = lacks && published.network === network && published.own.lacks !== undefined
    if (isSaid && (!lacks || (isAsked && now < published.againAt))) {
      await this.#pause(Math.min(published.renewAt - now, published.againAt - now, LONGEST_SLEEP_MS), signal)
      return
    }
    // Who was refused a day ago may ask again, and who might have objected to our start has.
    const said = isRenewal ? { refused: undefined, claim: undefined } : {}
    const own = { ...published.own, lease: { ...lease, ...said } }
    const again = isSaid && isAsked ? { retryOf: published.own } : {}
    try {
      const { previous } = lacks ? await this.#options.lastRun(network) : { previous: new Map() }
      const hints = { network, previous, yieldTo: this.#rivals(), ...this.#beside(), ...again }
      const renewed = await this.#store.publish(own, attrs, hints, signal)
      if (renewed === published.own) {
        this.#published = { ...published, againAt: now + this.#retryMs }
        return
      }
      this.renewals.ok += 1
      if (isRenewal) this.#overwrote.clear()
      this.#held(attrs, renewed, network)
    } catch (cause) {
      if (signal.aborted) return
      this.renewals.failed += 1
      if (cause instanceof LeaseConflictError) {
        this.#lost(cause, published.own)
        return
      }
      this.#log.warn('lease not renewed', { why: messageOf(cause), retryInSeconds: DEFAULT_RETRY_MS / 1000 })
      await this.#pause(DEFAULT_RETRY_MS, signal)
    }
  }

  /**
   * Whose writes are not undone again, or two would write for ever: flannel's until the next renewal; those of a process with our NodeID
   * while it may be answering our own, so the younger of two yields.
   */
  #rivals(): ReadonlySet<Rival> {
    const rivals = new Set<Rival>()
    if (this.#overwrote.has('flannel')) rivals.add('flannel')
    const since = this.#clock.now() - (this.#overwrote.get('same-node') ?? Number.NEGATIVE_INFINITY)
    if (since < (this.#options.claimMs ?? CLAIM_MS)) rivals.add('same-node')
    return rivals
  }

  /** Whether the store shows what we wrote. Any difference is settled by a compared write, which sees the truth. */
  #isShown({ own, history }: Published): boolean {
    const entry = this.#store.entry(own.lease.id)
    this.#judged = entry?.version
    if (history === this.#history && entry !== undefined && isOlder(entry.version, own.version)) return true
    if (entry?.lease !== undefined && sameLease(entry.lease, own.lease)) return true
    const why = entry === undefined ? 'deleted or expired' : 'changed by another'
    this.#log.warn('own lease differs in the store', { id: own.lease.id, why })
    return false
  }

  // With every change of any lease: only one of ours is looked at. While the pool is exhausted one that goes is a reason, too.
  async #watch(signal: AbortSignal): Promise<void> {
    let seen: { readonly revision: string; readonly leases: number } | undefined
    for await (const { revision, leases } of this.#store.watch(signal)) {
      if (seen !== undefined && isOlder(revision, seen.revision)) this.#history += 1
      const id = ownId(this.state.current)
      const isFreed = leases.size < (seen?.leases ?? 0)
      if (isFreed && this.#isShort) this.#askSoon(leases.size, signal)
      if (id !== undefined && this.#store.entry(id)?.version !== this.#judged) this.#wake.abort()
      seen = { revision, leases: leases.size }
    }
  }

  /** It waits for a subnet that is not there. */
  get #isShort(): boolean {
    return ownId(this.state.current) === undefined || this.#published?.own.lacks !== undefined
  }

  /** All nodes that wait for a subnet see the same one go: they ask one after the other. */
  #askSoon(nodes: number, signal: AbortSignal): void {
    if (this.#isAsking) return
    this.#isAsking = true
    this.#clock.sleep(spreadMs(this.#random, nodes), signal).then(
      () => {
        this.#isAsking = false
        if (this.#published?.own.lacks !== undefined) this.#published = { ...this.#published, againAt: 0 }
        this.#wake.abort()
      },
      () => {},
    )
  }

  /** Sleeps, or less when something may have changed since the last pause. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const wake = this.#wake
    await untilFirst([signal, wake.signal], (stop) => this.#clock.sleep(ms, stop)).catch(() => {})
    if (wake.signal.aborted) this.#wake = new AbortController()
  }
}
