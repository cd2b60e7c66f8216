import { changesBetween } from '../../lib/persistent-map.ts'
import type { DesiredState } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { KINDS_OF_SCOPE, KINDS_ON_DEVICES } from '../kinds/order.ts'
import { compare, type DesiredObject, type ObjectKind } from '../objects.ts'
import { devicesOf, doubt } from './events.ts'
import { type Journal, type JournalEntries, NO_ENTRIES, withJournal } from './journal.ts'
import type { KindMirror } from './mirror.ts'
import type { Retries } from './pacing.ts'

interface Needs {
  readonly mirrors: ReadonlyMap<ObjectKind, KindMirror>
  readonly retries: Retries
  readonly journal: Journal
}

/** The state that the passes go by: the newest one that was set, judged by the journal as it is now. */
export class Wanted {
  /** As it was set. */
  given: DesiredState | undefined
  /** With the journal's part. */
  desired: DesiredState | undefined
  /** Names of devices whose events matter. */
  devices: ReadonlySet<string> = new Set()
  readonly #needs: Needs
  #entries: JournalEntries = NO_ENTRIES

  constructor(needs: Needs) {
    this.#needs = needs
  }

  /** Not during a pass. Does nothing where neither the state nor the journal is another one. */
  adopt(given: DesiredState | undefined): void {
    const { mirrors, journal } = this.#needs
    if (given === undefined || (given === this.given && journal.entries === this.#entries)) return
    const next = withJournal(given, journal.entries)
    const differing = adopt(this.#needs, this.desired ?? NOTHING_WANTED, next)
    this.given = given
    this.desired = next
    this.#entries = journal.entries
    if (differing === undefined) return
    // Names that no longer matter stay until there is a new one: they cost a reading at most.
    const named = new Set([...next.scope.devices, ...devicesOf(differing)])
    if ([...named].every((name) => this.devices.has(name))) return
    // Events of devices that did not matter until now were not heeded.
    const devices = new Set([...next.scope.devices, ...devicesOf(next.objects.values())])
    doubt(mirrors, ['link', ...KINDS_ON_DEVICES])
    this.devices = devices
  }
}

const NOTHING_WANTED: DesiredState = {
  objects: new Map(),
  complete: false,
  scope: { devices: new Set(), networks: [] },
}

/**
 * Tells the mirrors what is wanted from now on, and which keys differ from what was wanted `before`: only these are compared
 * with the kernel. Returns the objects that are wanted otherwise than before or no more; undefined: nothing differs at all.
 */
function adopt(
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
    if (!kindOf(mirror.kind).events && was === undefined) mirror.stale = true
  }
  const isScopeOther = scopeText(next) !== scopeText(before)
  if (isScopeOther) doubt(needs.mirrors, KINDS_OF_SCOPE)
  const otherwise = next.complete !== before.complete || isScopeOther
  if (otherwise) for (const mirror of needs.mirrors.values()) mirror.unexamined = true
  return differing.length > 0 || otherwise ? differing : undefined
}

function scopeText({ scope }: DesiredState): string {
  return JSON.stringify([[...scope.devices], [...(scope.fouPorts ?? [])], scope.networks, scope.instance])
}
