import { ownPorts } from '../../backends/way.ts'
import { runTogether } from '../../lib/lifecycle.ts'
import { type Configuration, wayKey } from '../node/configuration.ts'
import type { ToldWays, WayPlan } from '../node/ways.ts'
import { ChangeRecord } from './change-record.ts'
import { ChangeReports } from './change-reports.ts'
import type { ChangeCounts, ChangeStatus, FinishOutcome } from './change-status.ts'
import { following, obstacleOnTheWay } from './follow.ts'
import { kernelObstacle } from './kernel-obstacle.ts'
import { newcomer } from './newcomer.ts'
import { PacedLooks } from './paced-looks.ts'
import { ProbeOpening } from './probe-opening.ts'
import { ProbeRounds } from './probe-rounds.ts'
import { leadsTo, probeTargets } from './probe-targets.ts'
import { ProbedRoutes } from './probed-routes.ts'
import { nameOfWay, recordOf, type WaysRecord } from './record.ts'
import { RefusedWays } from './refused-ways.ts'
import { isShownBy, ownAddresses, type Seen, see } from './seen.ts'
import { SinceWhen } from './since-when.ts'
import { advance, forced, restingAt, type SwitchState, type SwitchView } from './switch.ts'
import { type LeasedPeer, SwitchPeers } from './switch-peers.ts'
import { keysOf, primaryOf, ToldByState } from './told-ways.ts'
import type { WayChangeNeeds } from './way-change-needs.ts'
import { WaysFile } from './ways-file.ts'
import { whatToOpen } from './what-to-open.ts'

interface WayChangeOptions {
  /** After so long those that are still waited for are named as a warning. */
  readonly drainMs: number
}

/**
 * Takes the node from the way that it has to the one that the configuration wants, peer by peer, with both beside each other for a while.
 * What to do next follows from what is seen (`switch.ts`); here it is seen, kept for the next start, and done.
 */
export class WayChange implements WayPlan {
  readonly #needs: WayChangeNeeds
  readonly #options: WayChangeOptions
  readonly #rounds: ProbeRounds
  readonly #peers = new SwitchPeers()
  readonly #told = new ToldByState()
  readonly #routes = new ProbedRoutes()
  readonly #looks: PacedLooks
  readonly #file: WaysFile
  readonly #opening: ProbeOpening
  readonly #refused: RefusedWays
  readonly #changes: ChangeRecord
  readonly #reports: ChangeReports
  readonly #since: SinceWhen
  #record: WaysRecord | undefined
  #primary: string | undefined

  constructor(needs: WayChangeNeeds, options: WayChangeOptions) {
    this.#needs = needs
    this.#options = options
    this.#looks = new PacedLooks({ ...needs, look: () => this.#look(), isChanging: () => this.#isChanging })
    this.#file = new WaysFile(needs)
    this.#opening = new ProbeOpening(needs)
    this.#reports = new ChangeReports(needs)
    this.#since = new SinceWhen(needs)
    const nameOf = (key: string) => this.#nameOf(key)
    this.#refused = new RefusedWays({ ...needs, nameOf })
    this.#changes = new ChangeRecord({ ...needs, nameOf, why: (id, family) => this.#rounds.why(id, family) })
    this.#rounds = new ProbeRounds({ ...needs, port: needs.probes, onResult: () => this.look() })
  }

  /** Undefined: the node has one way. */
  get status(): ChangeStatus | undefined {
    return this.#reports.status
  }

  /** Peers that go by another way than the target, each family for itself. */
  get unmoved(): readonly LeasedPeer[] {
    return this.#reports.unmoved
  }

  get counts(): ChangeCounts {
    const { answered, unanswered } = this.#rounds.counts
    return { ...this.#changes.counts, probesAnswered: answered, probesUnanswered: unanswered }
  }

  /** What the node goes to, or has; before the first one of this run what the last one had. */
  get target(): Configuration | undefined {
    return this.#record?.configurations.get(this.#record.state.target)
  }

  /** What the last run was doing: before the first configuration. */
  async load(): Promise<void> {
    this.#record = await this.#file.load()
  }

  wanted(inUse: Configuration): readonly [Configuration, ...Configuration[]] {
    this.#follow(inUse)
    const { held } = this.#state ?? restingAt(wayKey(inUse))
    const all = held.flatMap(({ key }) => this.#record?.configurations.get(key) ?? [])
    const possible = all.filter((configuration) => !this.#needs.refusals.has(wayKey(configuration)))
    const [first = inUse, ...others] = possible.length > 0 ? possible : all
    return [first, ...others]
  }

  instead(): Configuration | undefined {
    return this.#record?.instead
  }

  told(ways: Seen['ways']): ToldWays {
    const keys = keysOf(ways)
    const state = this.#state ?? restingAt(keys.get(ways[0]) ?? '')
    return this.#told.of(state, { ways, keys, primary: this.#primary ?? state.held[0]?.key ?? '' })
  }

  /** Why there is no going from the one in use to the other without a restart; undefined: there is. */
  obstacleBetween(inUse: Configuration, next: Configuration): string | undefined {
    return obstacleOnTheWay(this.#record, { inUse, next })
  }

  /** To be told of whatever may let the change go on. */
  look(): void {
    this.#looks.ring()
  }

  /** Ends the old ways, whoever needs them, as soon as the lease store shows that this node gives them up. */
  finish(): FinishOutcome {
    if (this.#state === undefined || this.#state.held.length < 2) return 'no change'
    if (forced(this.#state) === this.#state) return 'not received by'
    this.#needs.log.warn('change of the backend is ended by request', {
      waiting: this.#reports.status?.waiting.length ?? 0,
    })
    this.#enter(forced(this.#state))
    this.look()
    return 'finished'
  }

  /** Until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await runTogether([(stop) => this.#looks.run(stop), (stop) => this.#rounds.run(stop)], signal)
    await this.#opening.close()
  }

  get #state(): SwitchState | undefined {
    return this.#record?.state
  }

  get #isChanging(): boolean {
    return this.#state !== undefined && this.#state.held.length > 1
  }

  /** Makes the configuration in use the target, as far as that can be beside what the node has. */
  #follow(inUse: Configuration): void {
    const before = this.#record
    const { leases } = this.#needs.levels.current
    if (before === undefined && leases === undefined) return
    const next = following(before ?? newcomer(inUse, leases?.leases.values() ?? []), inUse)
    if (next === before) return
    this.#record = next
    if (next.state === before?.state) {
      // After a restart in the middle of it.
      if (next.state.held.length > 1) this.#changes.begin()
      this.look()
      return
    }
    this.#since.forget()
    this.#refused.forget()
    const { held, target } = next.state
    if (held.length > 1) {
      const from = held.flatMap(({ key }) => (key === target ? [] : [this.#nameOf(key)])).join(', ')
      this.#changes.begin()
      this.#needs.log.info('change of the backend began', { from, to: this.#nameOf(target) })
    }
    this.look()
  }

  async #look(): Promise<void> {
    if (this.#refused.look(this.#state)) this.#needs.levels.set({})
    const { levels, planning } = this.#needs
    const seen = see(levels.current, planning().last)
    if (this.#state === undefined || seen === undefined) return
    if (this.#isChanging) {
      // After a restart half way it begins here.
      this.#changes.begin()
      await this.#opening.open(ownAddresses(seen), ownPorts(seen.ways))
    }
    const leases = this.#isChanging ? [...seen.last.verdicts.planned.values()] : []
    for (let steps = 0; steps < 20 && this.#isChanging; steps += 1) {
      const peers = this.#peersOf(seen, leases)
      this.#choosePrimary(peers)
      const before = this.#state
      const next = advance(before, { peers, ...this.#facts(seen, leases.length) })
      if (next === before) {
        this.#rounds.want(this.#routes.of(probeTargets(before, peers, seen), this.#inKernel(seen)))
        this.#report(seen, peers)
        break
      }
      this.#enter(next)
    }
    if (this.#record?.instead && [...seen.keys.values()].includes(this.#state.target))
      this.#record = recordOf(this.#state, this.#record.configurations)
    await this.#file.save(this.#record)
    if (!this.#isChanging) await this.#rest()
  }

  #peersOf({ keys, network, last }: Seen, leases: readonly LeasedPeer['lease'][]): readonly LeasedPeer[] {
    const way = this.#state?.target ?? ''
    const verdict = (id: string, family: LeasedPeer['family']) => this.#rounds.verdict({ id, family, way })
    return this.#peers.of(leases, keys, [...network.families.keys()], verdict, last.plan.refused)
  }

  #inKernel({ last }: Seen) {
    return { last, generation: this.#needs.planning().generation, status: this.#needs.reconciler.status.current }
  }

  #facts(seen: Seen, nodes: number): Omit<SwitchView, 'peers'> {
    const { advertised } = this.told(seen.ways)
    const isShown = isShownBy(seen, this.#needs.levels.current.lease, advertised)
    return this.#since.look({ isShown, isSettled: this.#obstacle(seen) === undefined, nodes })
  }

  /** Why the node cannot receive by the target yet; empty: it is about to. Undefined: it can. */
  #obstacle({ keys, last }: Seen): string | undefined {
    const { planning, reconciler, refusals, closedArrival } = this.#needs
    const target = this.#state?.target ?? ''
    const way = [...keys].find(([, key]) => key === target)?.[0]
    const generation = way && planning().generationOf(way)
    const inKernel = { last, status: reconciler.status.current, generation }
    return refusals.get(target) ?? kernelObstacle(way, inKernel) ?? this.#opening.fault ?? closedArrival?.()
  }

  #choosePrimary(peers: readonly LeasedPeer[]): void {
    const state = this.#state
    if (state === undefined) return
    const primary = primaryOf(state, peers)
    if (primary === this.#primary) return
    this.#primary = primary
    this.#needs.levels.set({})
  }

  #enter(next: SwitchState): void {
    const before = this.#state
    this.#record = recordOf(next, this.#record?.configurations)
    this.#changes.take(before, next)
    this.#needs.levels.set({})
  }

  async #rest(): Promise<void> {
    if (this.#changes.since === undefined && !this.#opening.isOpen) return
    this.#changes.end()
    this.#primary = undefined
    this.#reports.end()
    this.#rounds.want([])
    await this.#opening.close()
    this.#needs.levels.set({})
  }

  #report(seen: Seen, peers: readonly LeasedPeer[]): void {
    const state = this.#state
    const { since } = this.#changes
    if (state === undefined || since === undefined) return
    const facts = {
      state,
      peers,
      nameOf: (key: string) => this.#nameOf(key),
      whyOf: ({ id, family }: LeasedPeer) => this.#rounds.why(id, family),
      faultOf: (peer: LeasedPeer) => this.#routes.faultOf(peer),
      leadsTo: (peer: LeasedPeer) => leadsTo(seen.last, peer),
      since,
      obstacle: this.#obstacle(seen),
    }
    const isLong = this.#changes.ms > this.#options.drainMs
    this.#reports.tell(facts, { isLong, next: this.#waitingNext(), opens: whatToOpen(seen, state.target) })
  }

  /** What the configuration wants and the node has not even begun; undefined: it goes there. */
  #waitingNext(): string | undefined {
    const wanted = this.#needs.levels.current.configuration
    return wanted === undefined || this.#record?.configurations.has(wayKey(wanted)) ? undefined : wanted.backend.type
  }

  #nameOf(key: string): string {
    return nameOfWay(this.#record?.configurations, key)
  }
}
