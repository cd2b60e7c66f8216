import { messageOf } from '../../lib/errors.ts'
import type { OpError } from '../table.ts'

/** What a file system call threw, as the error of an object. */
export function fileError(cause: unknown): OpError {
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : 'EIO'
  return { code, message: messageOf(cause) }
}
