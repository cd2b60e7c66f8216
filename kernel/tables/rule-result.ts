import { messageOf } from '../../lib/errors.ts'
import { OpFailure, type OpResult } from '../table.ts'

/** The outcome of work that a tool does. */
export async function ruleResult(work: () => Promise<void>): Promise<OpResult> {
  try {
    await work()
    return { ok: true }
  } catch (cause) {
    const code = cause instanceof OpFailure ? cause.code : 'ESTALE'
    return { ok: false, error: { code, message: messageOf(cause) } }
  }
}
