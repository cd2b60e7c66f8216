import type { DesiredState } from './desired.ts'
import type { KindMirror } from './mirror.ts'
import { compare, type ObjectKind } from './objects.ts'
import { KINDS } from './order.ts'
import type { Retries } from './retries.ts'

export const NOTHING_WANTED: DesiredState = {
  objects: new Map(),
  complete: false,
  scope: { devices: new Set(), networks: [] },
}

/**
 * Tells the mirrors what is wanted from now on, and which keys differ from what was wanted `before`: only these are compared
 * with the kernel. An object that is the very same value as before costs one look-up; false when nothing differs.
 */
export function adopt(
  needs: { mirrors: ReadonlyMap<ObjectKind, KindMirror>; retries: Retries },
  before: DesiredState,
  next: DesiredState,
): boolean {
  let kept = 0
  let differs = false
  for (const [key, object] of next.objects) {
    const was = before.objects.get(key)
    if (was !== undefined) kept += 1
    if (was === object) continue
    const mirror = needs.mirrors.get(object.kind)
    if (mirror === undefined) continue
    mirror.wanted.set(key, object)
    if (was !== undefined && compare(was, object) === 'same') continue
    differs = true
    mirror.changed.add(key)
    mirror.unsettled.add(key)
    needs.retries.forget(key)
    // The dump of these kinds holds only what was wanted then.
    if (!KINDS[mirror.kind].events && was === undefined) mirror.stale = true
  }
  if (kept < before.objects.size) {
    differs = true
    for (const [key, { kind }] of before.objects) if (!next.objects.has(key)) needs.mirrors.get(kind)?.unwant(key)
  }
  if (next.complete !== before.complete || scopeText(next) !== scopeText(before)) {
    differs = true
    for (const mirror of needs.mirrors.values()) mirror.unexamined = true
  }
  return differs
}

function scopeText({ scope }: DesiredState): string {
  return JSON.stringify([[...scope.devices], [...(scope.fouPorts ?? [])], scope.networks, scope.instance])
}
