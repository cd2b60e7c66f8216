import type { Clock } from '../lib/clock.ts'
import { describeFault, Lifecycle } from '../lib/lifecycle.ts'
import type { Logger } from '../lib/log.ts'
import { exitCodeOf } from './exit-code.ts'
import { NoInterfaceError } from './host/external-interface.ts'
import { OWN_LEASE } from './leases/lease-keeper.ts'
import { faultConditions, isOwnFault } from './status/fault-conditions.ts'
import type { ConditionSet } from './status/status.ts'

interface FaultNeeds {
  readonly log: Logger
  readonly conditions: ConditionSet
}

/**
 * Decides what a fault of a background task ends: the daemon only while it starts, by an error that names what the operator
 * must change, or by one of the own lease, which another host holds. Everything else is a condition, and the task begins again.
 */
export function createLifecycle(
  needs: FaultNeeds & { readonly clock: Clock },
  options: { readonly end: (cause: unknown) => void; readonly wasReady: () => boolean },
): Lifecycle {
  return new Lifecycle({
    clock: needs.clock,
    onFault: (task, cause) => {
      // Which interface is thrown only where none has ever fitted.
      const isForOperator = exitCodeOf(cause) !== 1 || cause instanceof NoInterfaceError
      if (isForOperator && (task === OWN_LEASE || !options.wasReady())) {
        options.end(cause)
        return 'ended'
      }
      sayFault(needs, task, cause)
      return 'again'
    },
    onWell: (task) => needs.conditions.replace(faultGroup(task), []),
  })
}

/** Log and conditions hear of it; the conditions of `faultGroup` hold until somebody ends them. */
export function sayFault({ log, conditions }: FaultNeeds, task: string, cause: unknown): void {
  if (isOwnFault(cause))
    log.error(describeFault(task, cause), { stack: cause instanceof Error ? cause.stack : undefined })
  conditions.replace(faultGroup(task), faultConditions(task, cause))
}

export function faultGroup(task: string): string {
  return `fault of ${task}`
}
