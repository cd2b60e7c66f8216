import type { Clock } from '../../lib/clock.ts'
import type { ConditionSet } from '../status/status.ts'
import { type ChangeFacts, changeConditions, changeStatus, type Telling } from './change-report.ts'
import type { ChangeStatus } from './change-status.ts'
import { wayOf } from './switch.ts'
import type { LeasedPeer } from './switch-peers.ts'

const GROUP = 'change of the backend'
const CONDITION_MS = 5_000

/** What the status and the conditions say of the change under way. */
export class ChangeReports {
  readonly #needs: { readonly clock: Clock; readonly conditions: ConditionSet }
  #status: ChangeStatus | undefined
  #unmoved: readonly LeasedPeer[] = []
  #sayAt = 0

  constructor(needs: { readonly clock: Clock; readonly conditions: ConditionSet }) {
    this.#needs = needs
  }

  /** Undefined: there is none. */
  get status(): ChangeStatus | undefined {
    return this.#status
  }

  /** Peers that go by another way than the target, each family for itself. */
  get unmoved(): readonly LeasedPeer[] {
    return this.#unmoved
  }

  tell(facts: ChangeFacts, telling: Telling): void {
    const { clock, conditions } = this.#needs
    const { state, peers } = facts
    const before = this.#status
    this.#unmoved = peers.filter((peer) => wayOf(state, peer) !== state.target)
    // While it is tried again nothing else is known.
    const obstacle = facts.obstacle === '' ? before?.obstacle : facts.obstacle
    this.#status = changeStatus({ ...facts, obstacle })
    // Whoever reads the log needs no line for each peer that moves.
    if (before?.phase === this.#status.phase && before.obstacle === this.#status.obstacle && clock.now() < this.#sayAt)
      return
    this.#sayAt = clock.now() + CONDITION_MS
    conditions.replace(GROUP, changeConditions(this.#status, telling))
  }

  end(): void {
    this.#status = undefined
    this.#unmoved = []
    this.#needs.conditions.replace(GROUP, [])
  }
}
