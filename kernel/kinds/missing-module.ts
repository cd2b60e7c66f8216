import type { Failure } from '../desired.ts'
import { kindOf } from './kinds.ts'

// 524 is ENOTSUPP, an errno that the kernel should not let out but does.
const UNSUPPORTED = new Set(['EOPNOTSUPP', 'ENOTSUPP', 'E524'])

/** The kernel module without which this could not be made; undefined: that was not the reason. */
export function missingModule({ object, cause, code }: Failure): string | undefined {
  if (cause !== 'refused' || code === undefined || !UNSUPPORTED.has(code)) return undefined
  return kindOf(object.kind).module?.(object)
}
