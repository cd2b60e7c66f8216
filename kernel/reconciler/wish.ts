import { changesBetween } from '../../lib/persistent-map.ts'
import type { DesiredState } from '../desired.ts'
import { compare, type DesiredObject, type ObjectKind } from '../objects.ts'
import { KINDS } from '../order.ts'
import type { KindMirror } from './mirror.ts'
import type { Retries } from './retries.ts'

export const NOTHING_WANTED: DesiredState = {
  objects: new Map(),
  complete: false,
  scope: { devices: new Set(), networks: [] },
}

/**
 * Tells the mirrors what is wanted from now on, and which keys differ from what was wanted `before`: only these are compared
 * with the kernel. Returns the objects that are wanted otherwise than before or no more; undefined: nothing differs at all.
 */
export function adopt(
  needs: { mirrors: ReadonlyMap<ObjectKind, KindMirror>; retries: Retries },
  before: DesiredState,
  next: DesiredState,
): readonly DesiredObject[] | undefined {
  const differing: DesiredObject[] = []
  for (const { key, before: was, after } of changesBetween(before.objects, next.objects)) {
    if (after === undefined) {
      if (was === undefined) continue
      needs.mirrors.get(was.kind)?.unwant(key)
      differing.push(was)
      continue
    }
    const mirror = needs.mirrors.get(after.kind)
    if (mirror === undefined) throw new TypeError(`no table for objects of the kind ${after.kind}`)
    mirror.wanted.set(key, after)
    if (was !== undefined && compare(was, after) === 'same') continue
    differing.push(after)
    mirror.changed.add(key)
    mirror.unsettled.add(key)
    needs.retries.forget(key)
    // The dump of these kinds holds only what was wanted then.
    if (!KINDS[mirror.kind].events && was === undefined) mirror.stale = true
  }
  const isScopeOther = scopeText(next) !== scopeText(before)
  // What the scope did not call ours was left out when routes were read.
  const routes = isScopeOther ? needs.mirrors.get('route') : undefined
  if (routes !== undefined) routes.stale = true
  const otherwise = next.complete !== before.complete || isScopeOther
  if (otherwise) for (const mirror of needs.mirrors.values()) mirror.unexamined = true
  return differing.length > 0 || otherwise ? differing : undefined
}

function scopeText({ scope }: DesiredState): string {
  return JSON.stringify([[...scope.devices], [...(scope.fouPorts ?? [])], scope.networks, scope.instance])
}
