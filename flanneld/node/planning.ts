import type { Way } from '../../backends/way.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import { type Journal, originalsOf, scopeOf } from '../../kernel/reconciler/journal.ts'
import type { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import type { Cidr } from '../../lib/address.ts'
import { Alarm } from '../../lib/alarm.ts'
import { type Clock, workAndRest } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import { emptySurroundings, type Surroundings } from '../../subnet/surroundings.ts'
import { subnetsOf } from '../leases/last-lease.ts'
import { heldLease } from '../leases/lease-attrs.ts'
import { PeerView } from '../leases/peer-view.ts'
import { noticeConditions, peerConditions } from '../status/node-conditions.ts'
import type { ConditionSet } from '../status/status.ts'
import { type Folded, type FoldNeeds, type FoldOptions, fold } from './fold.ts'
import { ownedBy } from './footprint.ts'
import { NONE_KEPT } from './kept-addresses.ts'
import type { LevelSet } from './levels.ts'
import { Planner } from './planner.ts'
import type { WayPlan } from './ways.ts'

const LONGEST_SETTLING_MS = 500

interface PlanningNeeds {
  readonly levels: LevelSet
  readonly journal: Journal
  readonly reconciler: Pick<Reconciler, 'setDesired' | 'status'>
  readonly conditions: ConditionSet
  readonly clock: Clock
  readonly log: Logger
  /** Hears of each plan once the reconciler has it. */
  readonly onPlan: () => void
  /** A plan is not in the kernel after a while: who shows what is there must look now. */
  readonly onSlow: () => void
}

export interface PlanningOptions extends FoldOptions {
  readonly wayPlan: WayPlan
  readonly protectedRanges: readonly Cidr[]
  readonly holdMs: number
}

/** Folds the levels into a plan whenever one of them changes, and hands it to the reconciler. */
export class Planning {
  readonly peers: PeerView
  readonly #needs: PlanningNeeds
  readonly #options: PlanningOptions
  readonly #planner = new Planner()
  readonly #settling: Alarm
  #last: Folded | undefined
  #firstWhole = Number.POSITIVE_INFINITY
  #firstInService = Number.POSITIVE_INFINITY
  #lastGeneration = 0
  /** Of the reconciler, from which on a way was wanted. */
  readonly #wantedSince = new WeakMap<Way, number>()

  constructor(needs: PlanningNeeds, options: PlanningOptions) {
    this.#needs = needs
    this.#options = options
    this.peers = new PeerView(needs, options)
    this.#settling = new Alarm(needs)
  }

  /** Undefined before the first plan. */
  get last(): Folded | undefined {
    return this.#last
  }

  /** Of the reconciler, as which it has got the last plan; 0: none. */
  get generation(): number {
    return this.#lastGeneration
  }

  /**
   * Whether all that a ready node needs was wanted by then: peers may be planned before it is known where rules go, and the node itself
   * before its peers.
   */
  isWhole(generation: number): boolean {
    return generation >= this.#firstWhole
  }

  /** Whether containers were served by then: with all peers, or by subnet.env, which may be told before the peers are known. */
  isInService(generation: number): boolean {
    return generation >= this.#firstInService
  }

  /** The first generation of the reconciler with all that this way needs; undefined: not planned yet. */
  generationOf(way: Way): number | undefined {
    return this.#wantedSince.get(way)
  }

  /** To be told of each new status of the reconciler. */
  onStatus(): void {
    this.#settling.ring()
  }

  // A burst (a rack gets power) costs a few plans and leaves most of the time to others; a single change waits for nothing.
  async run(parts: Pick<FoldNeeds, 'ways' | 'traffic' | 'keeper'>, signal: AbortSignal): Promise<void> {
    const { levels, clock } = this.#needs
    const needs = { ...parts, peers: this.peers, planner: this.#planner, wayPlan: this.#options.wayPlan }
    let isAlone = false
    const apply = async () => {
      const planned = await this.#plan(needs)
      isAlone = planned?.isAlone === true
      if (planned !== undefined && !isAlone) await this.#settle(signal)
    }
    signal.addEventListener('abort', () => this.#settling.stop(), { once: true })
    for await (const _ of levels.changes.watch(signal)) {
      await workAndRest(clock, apply, { rest: 2, longestMs: 200 }, signal)
      if (isAlone) await this.#settleAlone(signal)
    }
  }

  /** What is ours in the kernel, or is going to be. */
  owned(): OwnershipScope {
    const { levels, journal } = this.#needs
    const { configuration, ways } = levels.current
    if (configuration === undefined) return scopeOf(journal.entries)
    return ownedBy(this.#options.wayPlan.wanted(configuration), ways, journal.entries)
  }

  /** The own subnets and those of accepted peers; undefined: not known yet. */
  overlay(): readonly Cidr[] | undefined {
    const own = heldLease(this.#needs.levels.current.lease)
    if (own === undefined || this.#last === undefined) return undefined
    return [own.lease, ...this.#last.verdicts.planned.values()].flatMap(subnetsOf)
  }

  /** What a subnet could take away from this host, now. */
  surroundings(): Surroundings {
    const { host, storeAddresses = [] } = this.#needs.levels.current
    return host?.surroundings({ ...this.#known(), storeAddresses }) ?? emptySurroundings
  }

  /** Undefined: there was not enough for a plan. */
  async #plan(needs: FoldNeeds): Promise<Folded | undefined> {
    const { journal, conditions, reconciler } = this.#needs
    const levels = this.#needs.levels.current
    const memory = { ...this.#known(), originals: originalsOf(journal.entries) }
    const folded = await fold(levels, needs, memory, this.#options)
    if (folded === undefined) return undefined
    const { verdicts, plan } = folded
    this.#last = folded
    conditions.replace('peers', peerConditions(verdicts, plan.skipped))
    conditions.replace('notices', noticeConditions(plan.notices))
    this.peers.skipped(plan.skipped)
    this.#lastGeneration = reconciler.setDesired(plan.desired)
    for (const way of plan.locals.keys())
      if (!this.#wantedSince.has(way)) this.#wantedSince.set(way, this.#lastGeneration)
    this.#needs.onPlan()
    const isWhole = levels.traffic !== undefined && !folded.isAlone
    if (isWhole) this.#firstWhole = Math.min(this.#firstWhole, this.#lastGeneration)
    if (isWhole || folded.isTold) this.#firstInService = Math.min(this.#firstInService, this.#lastGeneration)
    return folded
  }

  /** What the host's own things are told from. */
  #known() {
    const planned = this.#last?.plan.desired.objects
    const { devices, addresses = NONE_KEPT.ours } = this.owned()
    const isPlanned = (key: string) => planned?.has(key) === true
    return { ours: devices, keptOurs: addresses, isPlanned, isFirst: this.#last === undefined }
  }

  /** The judgement of thousands of peers would hold up what is being done for this node alone. */
  async #settleAlone(signal: AbortSignal): Promise<void> {
    const { levels } = this.#needs
    await this.#settle(signal)
    if (levels.current.leases !== undefined) levels.set({})
  }

  /** For a while: a program that hangs must not hold up the next plan. */
  async #settle(signal: AbortSignal): Promise<void> {
    const { clock, reconciler, onSlow } = this.#needs
    const until = clock.now() + LONGEST_SETTLING_MS
    const isSettled = () => (reconciler.status.current?.generation ?? 0) >= this.#lastGeneration
    while (!isSettled() && !signal.aborted && clock.now() < until) await this.#settling.until(until)
    // Else the reconciler's status has told of it: whoever hears of a plan any sooner takes time from it.
    if (!isSettled()) onSlow()
  }
}
