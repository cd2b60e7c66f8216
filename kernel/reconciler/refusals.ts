import { messageOf } from '../../lib/errors.ts'
import type { KernelObject } from '../objects.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../table.ts'

const DOUBTS = new Set([
  'ESTALE',
  'EEXIST',
  'ENOENT',
  'ESRCH',
  'ENODEV',
  'ENXIO',
  'EADDRNOTAVAIL',
  'ENOBUFS',
  'ENETDOWN',
])
const GONE = new Set(['ENOENT', 'ESRCH', 'ENODEV', 'ENXIO', 'EADDRNOTAVAIL'])

/** Whether the answer proves the mirror wrong: something is there or is not, against what it says, or an answer was lost. */
export function provesMirrorWrong(error: OpError): boolean {
  return DOUBTS.has(error.code)
}

/** Whether a removal was refused because there is nothing to remove. */
export function isAlreadyGone(op: Op<KernelObject>, error: OpError): boolean {
  return op.verb === 'remove' && GONE.has(error.code)
}

/** One result per op, whatever the table does. */
export async function answersOf(table: ObjectTable, ops: readonly Op<KernelObject>[]): Promise<readonly OpResult[]> {
  try {
    const results = await table.apply(ops)
    return ops.map((_op, index) => results[index] ?? unknown('no answer'))
  } catch (cause) {
    return ops.map(() => unknown(messageOf(cause)))
  }
}

// Nothing is known of it: this code makes the kind be read again.
function unknown(message: string): OpResult {
  return { ok: false, error: { code: 'ENOBUFS', message } }
}
