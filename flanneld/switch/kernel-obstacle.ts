import type { Way } from '../../backends/way.ts'
import type { ReconcileStatus } from '../../kernel/desired.ts'
import { keyOf } from '../../kernel/objects.ts'
import type { Folded } from '../node/fold.ts'
import { isBetweenWays } from './probed-routes.ts'

interface InKernel {
  readonly last: Folded
  readonly status: ReconcileStatus | undefined
  /** From which generation on the kernel has had all of the way; undefined: it was not planned yet. */
  readonly generation: number | undefined
}

/** Why this node cannot receive by a way yet, as far as the kernel knows; empty: that is tried. Undefined: it can. Pure. */
export function kernelObstacle(way: Way | undefined, { last, status, generation }: InKernel): string | undefined {
  const local = way && last.plan.locals.get(way)
  if (generation === undefined || local === undefined || (status?.generation ?? 0) < generation) return ''
  return [...local.objects, ...last.plan.own.filter(isBetweenWays)]
    .map((object) => status?.failures.get(keyOf(object)))
    .find((each) => each !== undefined)?.text
}
