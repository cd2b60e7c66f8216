import type { Clock } from '../../lib/clock.ts'

/** A worker turns at least once a second, when its poll runs out of time. */
const LOOK_MS = 1_500
/** More than one: a process that was stopped wakes up with every timer due and its worker behind. */
const SILENT_LOOKS = 2

/** Whether the worker's turns stood still for three seconds and more; false when `signal` was aborted before. Never rejects. */
export async function standsStill(
  needs: { readonly clock: Clock; readonly turns: () => number },
  signal: AbortSignal,
): Promise<boolean> {
  const { clock, turns } = needs
  let last = turns()
  for (let silent = 0; silent < SILENT_LOOKS; ) {
    const slept = await clock.sleep(LOOK_MS, signal).then(
      () => true,
      () => false,
    )
    if (!slept) return false
    const now = turns()
    silent = now === last ? silent + 1 : 0
    last = now
  }
  return true
}
