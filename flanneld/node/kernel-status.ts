import type { ReconcileStatus } from '../../kernel/desired.ts'
import type { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import { kernelConditions, missingRequirement } from '../status/node-conditions.ts'
import type { ConditionSet } from '../status/status.ts'

/**
 * Tells what the kernel does not take, as conditions. `isInService`: whether by then a plan was wanted with which containers are served.
 * @throws ConfigError for what no wait mends, until a pass over such a plan has ended
 */
export async function followReconciler(
  needs: {
    readonly reconciler: Pick<Reconciler, 'status'>
    readonly conditions: ConditionSet
    readonly isInService: (generation: number) => boolean
    readonly onStatus: (status: ReconcileStatus) => void
  },
  signal: AbortSignal,
): Promise<void> {
  let isFirst = true
  for await (const status of needs.reconciler.status.watch(signal)) {
    const missing = isFirst ? missingRequirement(status.failures) : undefined
    if (missing !== undefined) throw missing
    isFirst &&= !needs.isInService(status.generation)
    needs.conditions.replace('kernel', kernelConditions(status))
    needs.onStatus(status)
  }
}
