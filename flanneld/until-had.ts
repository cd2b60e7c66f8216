import { OpFailure } from '../kernel/table.ts'
import type { Clock } from '../lib/clock.ts'
import { messageOf, PermissionError } from '../lib/errors.ts'
import { faultConditions, isOwnFault } from './status/fault-conditions.ts'
import type { ConditionSet } from './status/status.ts'

const FIRST_MS = 250
const MOST_MS = 30_000

/**
 * What the start needs of this host. The kernel may refuse it for a while (a dump interrupted again and again, no memory, no
 * descriptors): a condition, and it is tried again. Throws everything else that `look` throws, a PermissionError where the
 * kernel says that we may not, and the signal's reason.
 */
export async function untilHad<T>(
  needs: { readonly clock: Clock; readonly conditions: ConditionSet },
  what: string,
  look: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const group = `until had: ${what}`
  for (let wait = FIRST_MS; ; wait = Math.min(MOST_MS, wait * 2)) {
    try {
      const found = await look()
      needs.conditions.replace(group, [])
      return found
    } catch (cause) {
      signal.throwIfAborted()
      if (isOwnFault(cause)) throw cause
      const code = cause instanceof OpFailure ? cause.code : ''
      if (code === 'EPERM' || code === 'EACCES') throw new PermissionError(`${what}: ${messageOf(cause)}`, { cause })
      needs.conditions.replace(group, faultConditions(what, cause))
    }
    await needs.clock.sleep(wait, signal)
  }
}
