import { contains } from '../../lib/address.ts'
import { assertNever } from '../../lib/errors.ts'
import type { DesiredState, Failure, OwnershipScope, Settlement } from '../desired.ts'
import { LOOPBACK } from '../kinds/address/kind.ts'
import type { JournalEntry } from '../kinds/kind.ts'
import { kindOf } from '../kinds/kinds.ts'
import { type DesiredObject, type KernelObject, keyOf, type ObjectKind, type Sysctl } from '../objects.ts'
import { ownDeviceOf, type PlannedOp } from './diff.ts'

/** By `keyOfEntry`, the oldest first. */
export type JournalEntries = ReadonlyMap<string, JournalEntry>

/**
 * What a fresh process must know to find again what an earlier one has made. An entry is written before its object is made and
 * ends when the object is known to be gone, so there may be an entry without an object and never an object without an entry.
 */
export interface Journal {
  readonly entries: JournalEntries
  /** False: they cannot be written now (a full disk). They are `entries` all the same and are tried again. */
  record(entries: Iterable<JournalEntry>): Promise<boolean>
  /** They are no `entries` any more from the call on; `why` goes to the log. */
  forget(entries: Iterable<JournalEntry>, why: string): Promise<void>
}

type Failing = Pick<Settlement, 'failures'>

export const NO_ENTRIES: JournalEntries = new Map()

/** Ends with the process: for what is only looked at, and for a reconciler that shall own nothing of an earlier run. */
export class MemoryJournal implements Journal {
  entries: JournalEntries

  constructor(entries: JournalEntries = NO_ENTRIES) {
    this.entries = entries
  }

  async record(entries: Iterable<JournalEntry>): Promise<boolean> {
    this.entries = withEntries(this.entries, entries)
    return true
  }

  async forget(entries: Iterable<JournalEntry>): Promise<void> {
    this.entries = withoutEntries(this.entries, entries)
  }
}

export function keyOfEntry(entry: JournalEntry): string {
  switch (entry.kind) {
    case 'device':
      return `device ${entry.name}`
    case 'fou-port':
      return `fou-port ${entry.port}`
    case 'address':
      return `address ${LOOPBACK} ${entry.address}`
    case 'network':
      return `network ${entry.network} ${entry.subnetLen}`
    case 'sysctl':
      return `sysctl ${entry.path}`
    default:
      return assertNever(entry)
  }
}

/** The same map when all are there. Of two entries for one sysctl the first counts: the second was read after our change. */
export function withEntries(entries: JournalEntries, more: Iterable<JournalEntry>): JournalEntries {
  const added = [...more].filter((entry) => !entries.has(keyOfEntry(entry)))
  return added.length === 0
    ? entries
    : new Map([...entries, ...added.map((entry) => [keyOfEntry(entry), entry] as const)])
}

/** The same map when none is there. */
export function withoutEntries(entries: JournalEntries, less: Iterable<JournalEntry>): JournalEntries {
  const keys = new Set([...less].map(keyOfEntry))
  const rest = [...entries].filter(([key]) => !keys.has(key))
  return rest.length === entries.size ? entries : new Map(rest)
}

export function scopeOf(entries: JournalEntries): OwnershipScope {
  const all = [...entries.values()]
  const addresses = all.flatMap((entry) => (entry.kind === 'address' ? [entry.address] : []))
  return {
    devices: new Set(all.flatMap((entry) => (entry.kind === 'device' ? [entry.name] : []))),
    fouPorts: new Set(all.flatMap((entry) => (entry.kind === 'fou-port' ? [entry.port] : []))),
    ...(addresses.length > 0 && { addresses: new Set(addresses) }),
    networks: all.flatMap((entry) =>
      entry.kind === 'network' ? [{ network: entry.network, subnetLen: entry.subnetLen }] : [],
    ),
  }
}

/** The other way round. */
export function entriesOf({ devices, fouPorts, addresses, networks }: OwnershipScope): readonly JournalEntry[] {
  return [
    ...[...devices].map((name) => ({ kind: 'device', name }) as const),
    ...[...(fouPorts ?? [])].map((port) => ({ kind: 'fou-port', port }) as const),
    ...[...(addresses ?? [])].map((address) => ({ kind: 'address', address }) as const),
    ...networks.map(({ network, subnetLen }) => ({ kind: 'network', network, subnetLen }) as const),
  ]
}

/** Path -> the host's own value. */
export function originalsOf(entries: JournalEntries): ReadonlyMap<string, string> {
  return new Map([...entries.values()].flatMap((each) => (each.kind === 'sysctl' ? [[each.path, each.value]] : [])))
}

/**
 * The whole of what shall be: ours is what this configuration uses and what is left of earlier ones, and sysctls of the host that
 * nobody wants changed any more get their own values.
 */
export function withJournal(desired: DesiredState, entries: JournalEntries): DesiredState {
  const { objects, scope } = desired
  const returns = [...entries.values()].flatMap((entry) =>
    entry.kind === 'sysctl' && !objects.has(keyOfEntry(entry)) ? [returnOf(entry)] : [],
  )
  return {
    ...desired,
    objects:
      returns.length === 0 ? objects : new Map([...objects, ...returns.map((each) => [keyOf(each), each] as const)]),
    scope: scopeWith(scope, entries),
  }
}

/** What is ours while `scope` is used: that, and what is left of earlier configurations. */
export function scopeWith(scope: OwnershipScope, entries: JournalEntries): OwnershipScope {
  return { ...scope, ...scopeOf(withEntries(entries, entriesOf(scope))) }
}

/** What a desired state uses besides its objects. */
export function networksOf({ scope }: DesiredState): readonly JournalEntry[] {
  return entriesOf({ devices: new Set(), networks: scope.networks })
}

/**
 * Writes what must be written before `due` is done to objects of this kind, and before what is as wanted already counts as ours.
 * Returns what may be done: all but the change of a host's own sysctl whose value cannot be written now.
 */
export async function recordBefore(
  journal: Journal,
  kind: ObjectKind,
  { wanted, failures, due }: { wanted: ReadonlyMap<string, KernelObject>; due: readonly PlannedOp[] } & Failing,
): Promise<readonly PlannedOp[]> {
  const { entry } = kindOf(kind)
  if (entry !== undefined)
    await journal.record([...wanted].flatMap(([key, object]) => (failures.has(key) ? [] : (entry(object) ?? []))))
  if (kind !== 'sysctl') return due
  const possible: PlannedOp[] = []
  for (const planned of due) if (await journal.record(borrowed(planned))) possible.push(planned)
  return possible
}

function borrowed({ op }: PlannedOp): readonly JournalEntry[] {
  if (op.object.kind !== 'sysctl' || op.object.borrowed !== true || op.verb !== 'update') return []
  const { path, value } = op.actual as Sysctl
  return [{ kind: 'sysctl', path, value }]
}

/** What must be read before anything can be said to be gone: the kinds of objects that an entry stands for. */
const TRACES: readonly ObjectKind[] = ['link', 'address', 'route', 'fou-port']

/**
 * Entries that end after a pass that tried all of `desired`, which is without the journal's part, and all removals: what they stand
 * for is not wanted, and the kernel has not refused to let go of it. What stands there all the same is another program's, which has made it anew.
 */
export function goneEntries(
  entries: JournalEntries,
  desired: DesiredState,
  { failures, unreadable }: Failing & Pick<Settlement, 'unreadable'>,
): readonly JournalEntry[] {
  const unwanted = [...entries.values()].filter((entry) => !isDesired(entry, desired))
  if (unwanted.length === 0) return []
  const mayLookGone = desired.complete && !TRACES.some((kind) => unreadable.has(kind))
  const staying = [...failures.values()].filter(({ cause, key }) => cause === 'refused' && !desired.objects.has(key))
  return unwanted.filter((entry) => {
    if (entry.kind === 'sysctl') return isReturned(failures.get(keyOfEntry(entry)))
    return mayLookGone && !staying.some(({ object }) => isTrace(object, entry))
  })
}

// With its device a setting is gone for good.
function isReturned(failure: Failure | undefined): boolean {
  return failure === undefined || failure.code === 'ENOENT'
}

function returnOf({ path, value }: Extract<JournalEntry, { kind: 'sysctl' }>): DesiredObject {
  return { kind: 'sysctl', path, value, role: { class: 'advisory', remedy: `echo ${value} > /proc/sys/${path}` } }
}

function isDesired(entry: JournalEntry, { objects, scope }: DesiredState): boolean {
  switch (entry.kind) {
    case 'device':
      return objects.has(`link ${entry.name}`)
    case 'network':
      return scope.networks.some((each) => keyOfEntry({ kind: 'network', ...each }) === keyOfEntry(entry))
    default:
      // Named as the object's key.
      return objects.has(keyOfEntry(entry))
  }
}

/** Whether something of the entry's is still there with this object. */
function isTrace(object: KernelObject, entry: JournalEntry): boolean {
  switch (entry.kind) {
    case 'device':
      return ownDeviceOf(object) === entry.name
    case 'network':
      return object.kind === 'route' && contains(entry.network, object.dst)
    default:
      return keyOf(object) === keyOfEntry(entry)
  }
}
