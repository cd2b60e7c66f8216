import { changesBetween } from '../../lib/persistent-map.ts'
import type { DesiredState } from '../desired.ts'
import { kindOf } from '../kinds/kinds.ts'
import { KINDS_OF_SCOPE, KINDS_ON_DEVICES } from '../kinds/order.ts'
import { compare, type DesiredObject } from '../objects.ts'
import { devicesOf } from './events.ts'
import { type Journal, type JournalEntries, NO_ENTRIES, withJournal } from './journal.ts'
import type { Mirrors } from './mirror.ts'
import type { ObjectPacing } from './pacing.ts'

interface Needs {
  readonly mirrors: Mirrors
  readonly pacing: ObjectPacing
  readonly journal: Journal
}

const NOTHING: DesiredState = {
  objects: new Map(),
  complete: false,
  scope: { devices: new Set(), networks: [] },
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

  /** Not during a pass. Does nothing where neither the state nor the journal is another one. Throws a TypeError for a kind without a table. */
  adopt(given: DesiredState | undefined): void {
    const { mirrors, journal } = this.#needs
    if (given === undefined || (given === this.given && journal.entries === this.#entries)) return
    const next = withJournal(given, journal.entries)
    const differing = replaceDesired(this.#needs, this.desired ?? NOTHING, next)
    this.given = given
    this.desired = next
    this.#entries = journal.entries
    if (differing === undefined) return
    // Names that no longer matter stay until there is a new one: they cost a reading at most.
    const named = new Set([...next.scope.devices, ...devicesOf(differing)])
    if ([...named].every((name) => this.devices.has(name))) return
    // Where none mattered before, all that is wanted differs.
    this.devices =
      this.devices.size === 0 ? named : new Set([...next.scope.devices, ...devicesOf(next.objects.values())])
    // Events of devices that did not matter until now were passed over.
    for (const kind of ['link', ...KINDS_ON_DEVICES] as const) mirrors.get(kind)?.invalidate()
  }
}

/**
 * Tells the mirrors what is wanted from now on, and which keys differ from what was wanted `before`: only these are compared
 * with the kernel. Returns the objects that are wanted otherwise than before or no more; undefined: nothing differs at all.
 */
function replaceDesired(
  { mirrors, pacing }: Needs,
  before: DesiredState,
  next: DesiredState,
): readonly DesiredObject[] | undefined {
  const differing: DesiredObject[] = []
  for (const { key, before: was, after } of changesBetween(before.objects, next.objects)) {
    if (after === undefined) {
      if (was === undefined) continue
      mirrors.get(was.kind)?.unwant(key)
      differing.push(was)
      continue
    }
    const mirror = mirrors.get(after.kind)
    if (mirror === undefined) throw new TypeError(`no table for objects of the kind ${after.kind}`)
    mirror.wanted.set(key, after)
    if (was !== undefined && compare(was, after) === 'same') continue
    differing.push(after)
    mirror.markDirty([key])
    mirror.unsettled.add(key)
    pacing.forgetRefusal(key)
    // The dump of these kinds holds only what was wanted then, and of what has changed since nobody has told.
    if (!kindOf(mirror.kind).events) mirror.invalidate()
  }
  const isScopeOther = scopeText(next) !== scopeText(before)
  if (isScopeOther) for (const kind of KINDS_OF_SCOPE) mirrors.get(kind)?.invalidate()
  const otherwise = next.complete !== before.complete || isScopeOther
  if (otherwise) for (const mirror of mirrors.values()) mirror.markDirty('all')
  return differing.length > 0 || otherwise ? differing : undefined
}

/** The same for every order: the journal has its own. */
function scopeText({ scope }: DesiredState): string {
  const { devices, fouPorts = [], addresses = [], networks, instance } = scope
  const texts = networks.map(({ network, subnetLen }) => `${network} ${subnetLen}`)
  return JSON.stringify([[...devices].sort(), [...fouPorts].sort(), [...addresses].sort(), texts.sort(), instance])
}
