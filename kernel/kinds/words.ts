import { assertNever } from '../../lib/errors.ts'
import type { Op } from '../table.ts'
import { type KernelObject, kindOf } from './kinds.ts'

/** One line about an object for logs and conditions, in the words of `ip`. The content of a file is left out. */
export function describe(object: KernelObject): string {
  return kindOf(object.kind).describe(object)
}

/** The change as commands that an operator knows; what `flanneld plan` prints. Order within the list matters. */
export function commandsFor(op: Op<KernelObject>): readonly string[] {
  const { commands } = kindOf(op.object.kind)
  switch (op.verb) {
    case 'create':
      return commands.create(op.object)
    case 'update':
      return commands.update(op.object, op.actual)
    case 'recreate':
      return [commands.remove(op.actual), ...commands.create(op.object)]
    case 'remove':
      return [commands.remove(op.object)]
    default:
      return assertNever(op)
  }
}
