import { deviceOf, type KernelObject, type Link, type ObjectKind } from '../objects.ts'
import { KINDS, KINDS_ON_DEVICES } from '../order.ts'
import type { Op } from '../table.ts'
import type { PlannedOp } from './diff.ts'
import type { KindMirror } from './mirror.ts'
import type { Retries } from './retries.ts'

interface Known {
  readonly mirrors: ReadonlyMap<ObjectKind, KindMirror>
  readonly retries: Retries
}

/** What a change of ours, just done, means for objects of other kinds. */
export function noteConsequences(known: Known, { op }: PlannedOp): void {
  const { object } = op
  if (object.kind === 'link') deviceChanged(known, op, object)
  if (object.kind === 'address') addressChanged(known, op, object.device)
  doubt(known.mirrors, KINDS[object.kind].empties ?? [])
}

/** These kinds must be read again. */
export function doubt(mirrors: Known['mirrors'], kinds: Iterable<ObjectKind>): void {
  for (const kind of kinds) {
    const mirror = mirrors.get(kind)
    if (mirror !== undefined) mirror.stale = true
  }
}

function deviceChanged({ mirrors, retries }: Known, { verb }: Op<KernelObject>, { name }: Link): void {
  if (verb === 'update') {
    // Up, a new MAC or a small MTU make the kernel drop entries, each in its own way: read them again.
    doubt(mirrors, KINDS_ON_DEVICES)
  } else {
    for (const kind of KINDS_ON_DEVICES) {
      const mirror = mirrors.get(kind)
      mirror?.dropDevice(name)
      if (verb !== 'recreate' || mirror === undefined) continue
      for (const [key, object] of mirror.wanted) if (deviceOf(object) === name) mirror.unsettled.add(key)
    }
  }
  retries.hurry(({ object }) => deviceOf(object) === name)
}

function addressChanged({ mirrors, retries }: Known, { verb }: Op<KernelObject>, device: string): void {
  // The last IPv4 address takes all IPv4 routes of its device with it, without an event.
  if (verb === 'remove') doubt(mirrors, ['route', 'neighbour'])
  retries.hurry(({ object }) => deviceOf(object) === device)
}
