import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { returnFreedMemory } from '../kernel/ffi/libc.ts'
import type { Clock } from '../lib/clock.ts'

// Measured in Documentation/decisions/0007-heap.md. V8 reads these while it runs, so they work however the program was started.
const FLAGS = [
  // The young generation stays at its first size. It would grow to 32 MB during the start and never shrink again.
  '--semi-space-growth-factor=1',
  // Percent of garbage beside what lives before the old generation is collected. V8 would allow some 300.
  '--heap-growing-percent=20',
  // The start is over before compiled loops pay for their compilation, which takes a third of its processor time.
  '--no-opt',
  // What only the start has run is dropped at the next collection but one, compiled or not.
  '--bytecode-old-age=1',
  '--flush-baseline-code',
]

/** After a start, until the burst of work that follows it is over. */
const QUIET_MS = 1_000

/** Sets V8 up for a program that sleeps nearly always. */
export function keepHeapSmall(): void {
  for (const flag of FLAGS) setFlagsFromString(flag)
}

/** Collects what the start left behind: while a node is idle, nothing else would. Holds the event loop for some 60 ms. */
export async function collectAfterStart(clock: Clock, signal: AbortSignal): Promise<void> {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  // Half-empty pages would stay: nobody moves what lives in them.
  setFlagsFromString('--compact-on-every-full-gc')
  // The second time finds what the first one freed only in part.
  for (let times = 0; times < 2; times += 1) {
    await clock.sleep(QUIET_MS, signal).catch(() => {})
    if (signal.aborted || typeof collect !== 'function') return
    collect()
    returnFreedMemory()
  }
}
