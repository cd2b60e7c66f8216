import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { returnFreedMemory } from '../kernel/ffi/libc.ts'
import type { Clock } from '../lib/clock.ts'
import type { Latest, Source } from '../lib/latest.ts'
import type { LeaseSnapshot } from '../subnet/types.ts'

// Measured in Documentation/decisions/0007-heap.md. V8 reads these while it runs, so they work however the program was started.
const FLAGS = [
  // The young generation stays at its first size. It would grow to 32 MB during the start and never shrink again.
  '--semi-space-growth-factor=1',
  // Percent of garbage beside what lives before the old generation is collected. V8 would allow some 300.
  '--heap-growing-percent=20',
  // The start is over before optimised loops pay for their compilation, which takes a third of its processor time: but see CROWD.
  '--no-opt',
  // What only the start has run is dropped at the next collection but one, compiled or not.
  '--bytecode-old-age=1',
  '--flush-baseline-code',
]

/** Without any news: whatever came with the start is over. Half a second, because a peer that comes then waits for the collection. */
const QUIET_MS = 500

/** Leases beside which compiled loops save as much processor time as their compilation takes. The time of the start is a third less then. */
const CROWD = 10_000

/** Sets V8 up for a program that sleeps nearly always. */
export function keepHeapSmall(): void {
  for (const flag of FLAGS) setFlagsFromString(flag)
}

/** Lets V8 optimise once there are so many leases that it pays: 8 MB more, for a start in half the time beside 20,000. */
export async function optimiseBesideCrowd(
  leases: Source<LeaseSnapshot>,
  signal: AbortSignal,
  optimise = () => setFlagsFromString('--opt'),
): Promise<void> {
  for await (const snapshot of leases.watch(signal)) {
    if (snapshot.leases.size < CROWD) continue
    optimise()
    return
  }
}

/**
 * Calls `collect` for what the start left behind, as soon as there is no `news` for a while: in an idle node, nothing else would.
 */
export async function collectAfterStart(
  { clock, collect = collectAll }: { readonly clock: Clock; readonly collect?: () => void },
  news: Latest<number>,
  signal: AbortSignal,
): Promise<void> {
  // The second time finds what the first one freed only in part.
  for (let times = 0; times < 2; times += 1) {
    await silence(clock, news, signal)
    if (signal.aborted) return
    collect()
  }
}

/** Holds the event loop for some 25 to 60 ms. */
function collectAll(): void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  if (typeof collect !== 'function') return
  // Half-empty pages would stay: nobody moves what lives in them.
  setFlagsFromString('--compact-on-every-full-gc')
  collect()
  setFlagsFromString('--no-compact-on-every-full-gc')
  returnFreedMemory()
}

async function silence(clock: Clock, news: Latest<number>, signal: AbortSignal): Promise<void> {
  let before: number | undefined
  do {
    before = news.current
    await clock.sleep(QUIET_MS, signal).catch(() => {})
  } while (news.current !== before && !signal.aborted)
}
