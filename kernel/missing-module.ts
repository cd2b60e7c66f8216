import type { Failure } from './desired.ts'
import { kindNameOf } from './kinds/link/drivers.ts'
import type { KernelObject } from './objects.ts'

// 524 is ENOTSUPP, an errno that the kernel should not let out but does.
const UNSUPPORTED = new Set(['EOPNOTSUPP', 'ENOTSUPP', 'E524'])

/** The kernel module without which this could not be made; undefined: that was not the reason. */
export function missingModule({ object, cause, code }: Failure): string | undefined {
  if (cause !== 'refused' || code === undefined || !UNSUPPORTED.has(code)) return undefined
  return moduleOf(object)
}

/** Which module makes it; undefined for what every kernel has. */
function moduleOf(object: KernelObject): string | undefined {
  if (object.kind === 'fou-port') return 'fou'
  return object.kind === 'link' ? kindNameOf(object.driver) : undefined
}
