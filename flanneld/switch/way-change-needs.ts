import type { Way } from '../../backends/way.ts'
import type { ReconcileStatus } from '../../kernel/desired.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import type { Folded } from '../node/fold.ts'
import type { LevelSet } from '../node/levels.ts'
import type { StateFiles } from '../state/state-files.ts'
import type { ConditionSet } from '../status/status.ts'
import type { ProbePort } from './probe-port.ts'

export interface WayChangeNeeds {
  readonly levels: LevelSet
  /** The last plan, and from which generation on the kernel has had all of a way. */
  readonly planning: () => {
    readonly last: Folded | undefined
    readonly generation: number
    generationOf(way: Way): number | undefined
  }
  readonly reconciler: { readonly status: { readonly current: ReconcileStatus | undefined } }
  /** Why this host has none of a way, by `wayKey`; what is taken out is tried again. */
  readonly refusals: Map<string, string>
  readonly probes: ProbePort
  /** Why forwarding would not take packets of peers by the target; empty: that is looked up. Undefined or absent: it would. */
  readonly closedArrival?: () => string | undefined
  readonly files: Pick<StateFiles, 'read' | 'keep' | 'remove'>
  readonly conditions: ConditionSet
  readonly clock: Clock
  readonly log: Logger
  /** From 0 to below 1. */
  readonly random: () => number
}
