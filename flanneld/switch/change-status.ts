/** `preparing`: what receives by the new way; `moving`: peers, one by one; `draining`: until nobody needs the old way any more. */
type ChangePhase = 'preparing' | 'moving' | 'draining'

/** A peer that keeps the change from its end. */
export interface WaitingPeer {
  readonly id: string
  readonly family: 'ipv4' | 'ipv6'
  readonly reason: string
}

/** A change of the backend that is under way, as the status shows it. */
export interface ChangeStatus {
  readonly from: readonly string[]
  readonly to: string
  readonly phase: ChangePhase
  /** RFC 3339, UTC. */
  readonly since: string
  /** A peer counts once in each family. */
  readonly peers: { readonly moved: number; readonly total: number }
  /** At most a hundred. */
  readonly waiting: readonly WaitingPeer[]
  /** What this host lacks for the new way; empty: nothing. */
  readonly obstacle: string
}

/** What became of the order to wait for nobody any more; `not received by`: the node does not receive by the new way yet. */
export type FinishOutcome = 'finished' | 'no change' | 'not received by'

/** Since the start; they only grow. */
export interface ChangeCounts {
  readonly finished: number
  readonly moves: number
  readonly fallBacks: number
  readonly probesAnswered: number
  readonly probesUnanswered: number
  /** Sum over all that have finished. */
  readonly seconds: number
}
