import type { Cidr, Family } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import { runTogether } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import {
  type AcquireHints,
  type Lease,
  type LeaseAttrs,
  type LeaseConflict,
  LeaseConflictError,
  type LeaseSnapshot,
  type LeaseStore,
  type OwnLease,
} from '../../subnet/types.ts'

/** Whether this node may say that its subnet is its own. */
export type LeaseState =
  | { readonly at: 'acquiring'; readonly waitingFor?: string }
  | { readonly at: 'held'; readonly own: OwnLease }
  | { readonly at: 'lost'; readonly last: OwnLease; readonly conflict: LeaseConflict; readonly text: string }

export interface LeaseKeeperOptions {
  readonly renewMarginMs: number
  /** Wait between tries that need the operator or another node to change something. */
  readonly retryMs: number
}

const DEFAULT_RETRY_MS = 60_000

/**
 * Holds the own lease: acquires it, renews it, publishes changes of our address, notices its loss and takes the same
 * subnet again if that is free. Never overwrites somebody else's and never gives up.
 */
export class LeaseKeeper {
  readonly state = new Latest<LeaseState>('own lease')
  readonly renewals = { ok: 0, failed: 0 }
  readonly #store: LeaseStore
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: LeaseKeeperOptions
  #want: LeaseAttrs
  #hints: AcquireHints
  #wake = new AbortController()
  #renewAt = Number.POSITIVE_INFINITY
  #seen: LeaseSnapshot | undefined
  /** The store was emptied or restored: its revisions say nothing about the one of our last write. */
  #replaced = false
  #publishing = false
  /** The own lease as the store showed it and as we know it, when they were last found to say the same. */
  #alike: { readonly seen?: Lease; readonly own?: Lease } = {}

  constructor(
    needs: { store: LeaseStore; clock: Clock; log: Logger },
    options: { want: LeaseAttrs; hints: AcquireHints; renewMarginMs: number; retryMs?: number },
  ) {
    this.#store = needs.store
    this.#clock = needs.clock
    this.#log = needs.log
    this.#want = options.want
    this.#hints = options.hints
    this.#options = { renewMarginMs: options.renewMarginMs, retryMs: options.retryMs ?? DEFAULT_RETRY_MS }
    this.state.set({ at: 'acquiring' })
  }

  /** What the node says about itself from now on; published at once when it differs. */
  setAttrs(want: LeaseAttrs): void {
    if (JSON.stringify(comparable(want)) === JSON.stringify(comparable(this.#want))) return
    this.#want = want
    this.#renewAt = 0
    this.#wake.abort()
  }

  /** Runs until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await runTogether([(stop) => this.#watch(stop), (stop) => this.#keep(stop)], signal)
  }

  async #keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const state = this.state.current
      if (state?.at === 'held') await this.#hold(state.own, signal)
      else await this.#acquire(state?.at === 'lost' ? state.last : undefined, signal)
    }
  }

  async #acquire(last: OwnLease | undefined, signal: AbortSignal): Promise<void> {
    const hints = last === undefined ? this.#hints : { ...this.#hints, only: subnetsOf(last.lease) }
    try {
      this.#held(await this.#store.acquire(this.#want, hints, signal))
    } catch (cause) {
      if (signal.aborted) return
      this.#refused(cause, last)
      await this.#pause(this.#options.retryMs, signal)
    }
  }

  #held(own: OwnLease): void {
    const { lease, expiresAt } = own
    const fields = { id: lease.id, expires: expiresAt === undefined ? 'never' : new Date(expiresAt).toISOString() }
    if (this.state.current?.at !== 'held') this.#log.info('subnet leased', fields)
    else this.#log.info('lease renewed', fields)
    this.#renewAt =
      expiresAt === undefined
        ? Number.POSITIVE_INFINITY
        : this.#clock.now() + Math.max(1_000, expiresAt - this.#clock.wall() - this.#options.renewMarginMs)
    this.state.set({ at: 'held', own })
  }

  #refused(cause: unknown, last: OwnLease | undefined): void {
    const text = messageOf(cause)
    // Two hosts told to be one: neither waiting nor another subnet would help.
    if (last === undefined && cause instanceof LeaseConflictError && cause.conflict.type === 'public-address-taken') {
      throw new ConfigError('public-ip', `must be an address that no other node has; ${text}`, cause.conflict.publicIp)
    }
    const previous = this.state.current
    if (cause instanceof LeaseConflictError && last !== undefined) {
      if (previous?.at !== 'lost' || previous.text !== text) this.#log.error('own lease lost', { why: text })
      this.state.set({ at: 'lost', last, conflict: cause.conflict, text })
    } else {
      if (previous?.at !== 'acquiring' || previous.waitingFor !== text)
        this.#log.warn('no subnet leased yet', { why: text })
      this.state.set({ at: 'acquiring', waitingFor: text })
    }
  }

  async #hold(own: OwnLease, signal: AbortSignal): Promise<void> {
    const wait = this.#renewAt - this.#clock.now()
    if (wait > 0) {
      await this.#pause(Math.min(wait, 2 ** 31 - 1), signal)
      return
    }
    try {
      const renewed = await this.#publish(own, signal)
      this.#replaced = false
      this.renewals.ok += 1
      this.#held(renewed)
      if (this.#seen !== undefined) this.#compare(renewed, this.#seen)
    } catch (cause) {
      if (signal.aborted) return
      this.renewals.failed += 1
      if (cause instanceof LeaseConflictError) {
        this.#refused(cause, own)
        return
      }
      this.#log.warn('lease not renewed', { why: messageOf(cause), retryInSeconds: DEFAULT_RETRY_MS / 1000 })
      await this.#pause(DEFAULT_RETRY_MS, signal)
    }
  }

  async #publish(own: OwnLease, signal: AbortSignal): Promise<OwnLease> {
    this.#publishing = true
    try {
      return await this.#store.publish(own, this.#want, signal)
    } finally {
      this.#publishing = false
    }
  }

  // While the pool is exhausted a lease that goes is a reason to try again.
  async #watch(signal: AbortSignal): Promise<void> {
    let leases = 0
    for await (const snapshot of this.#store.watch(signal)) {
      const state = this.state.current
      if (this.#seen !== undefined && isBefore(snapshot.revision, this.#seen.revision)) this.#replaced = true
      this.#seen = snapshot
      // Our own write comes back by the watch before its answer does: until then nobody can say whose it is.
      if (state?.at === 'held' && this.#publishing) continue
      if (state?.at === 'held') this.#compare(state.own, snapshot)
      else if (state?.at === 'lost') this.#reconsider(state.last, snapshot)
      else if (snapshot.leases.size < leases) this.#wake.abort()
      leases = snapshot.leases.size
    }
  }

  /** Any difference between the store's view and ours is settled by a compared write, which sees the truth. */
  #compare(own: OwnLease, snapshot: LeaseSnapshot): void {
    if (!this.#replaced && isBefore(snapshot.revision, own.version)) return
    const seen = snapshot.leases.get(own.lease.id)
    // Asked with every change of any lease, and nearly always about the same two.
    const { seen: before, own: ours } = this.#alike
    if (seen !== undefined && seen === before && own.lease === ours) return
    if (seen !== undefined && fingerprint(seen) === fingerprint(own.lease)) {
      this.#alike = { seen, own: own.lease }
      return
    }
    const text = seen === undefined ? 'deleted or expired' : 'changed by another'
    this.#log.warn('own lease differs in the store', { id: own.lease.id, why: text })
    this.#renewAt = 0
    this.#wake.abort()
  }

  #reconsider(last: OwnLease, snapshot: LeaseSnapshot): void {
    const seen = snapshot.leases.get(last.lease.id)
    if (seen === undefined || seen.node === this.#want.node) this.#wake.abort()
  }

  /** Sleeps, or less when something has changed. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const wake = this.#wake
    await untilFirst([signal, wake.signal], (stop) => this.#clock.sleep(ms, stop)).catch(() => {})
    if (wake.signal.aborted) this.#wake = new AbortController()
  }
}

function subnetsOf(lease: Lease): ReadonlyMap<Family, Cidr> {
  return new Map([...lease.families].map(([family, part]) => [family, part.subnet]))
}

/** The parts that others see. */
function fingerprint(lease: Lease): string {
  return JSON.stringify([lease.node, path(lease.primary), lease.accepts.map(path), [...lease.families]])
}

function path(value: Lease['primary']): unknown {
  return [value.backend, [...value.data]]
}

function comparable(attrs: LeaseAttrs): unknown {
  return [attrs.node, path(attrs.primary), attrs.accepts.map(path), [...attrs.publicIps], [...attrs.tunnelIps]]
}

/** Store revisions grow; one that is no number cannot be compared and counts as current. */
function isBefore(revision: string, version: string): boolean {
  return /^\d+$/.test(revision) && /^\d+$/.test(version) && BigInt(revision) < BigInt(version)
}
