import { randomBytes } from 'node:crypto'
import type { DesiredState } from '../../kernel/desired.ts'
import { createKernel, type Kernel } from '../../kernel/kernel.ts'
import { ownershipOf } from '../../kernel/kinds/ownership.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import { type KernelObject, keyOf } from '../../kernel/objects.ts'
import { asDesired } from '../../kernel/reconciler/diff.ts'
import { keyOfEntry, MemoryJournal, scopeOf, withJournal, withoutEntries } from '../../kernel/reconciler/journal.ts'
import { preview } from '../../kernel/reconciler/preview.ts'
import { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import type { ObjectTable } from '../../kernel/table.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import { bearsFlannelsName } from '../adopted-by-flannel.ts'
import { forgetLastKnown } from '../last-known/keep.ts'
import { requireNetAdmin } from '../options/node-options.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import { takenEntries } from '../state/claim-footprint.ts'
import { DiskWrites } from '../state/disk-writes.ts'
import { instanceOf } from '../state/instance.ts'
import { claimedByOthers } from '../state/instance-claim.ts'
import { lockInstance } from '../state/instance-lock.ts'
import { forgetLastSubnets } from '../state/own-subnet.ts'
import { StateDir, WAYS_FILE } from '../state/state-dir.ts'
import type { StateFiles } from '../state/state-files.ts'
import { ConditionSet } from '../status/status.ts'

export interface ReductionNeeds {
  readonly clock: Clock
  readonly log: Logger
  readonly port: ProcessPort
  readonly print: (text: string) => void
}

export interface ReducedHost {
  /** This instance had been here. */
  readonly isOnRecord: boolean
  readonly kernel: Kernel
  readonly files: StateFiles
}

export interface Reduction {
  /** Of what is this instance's, all that stays, in the form in which it stays. */
  readonly keep: (objects: readonly KernelObject[]) => readonly KernelObject[]
  /** When all is done; what it did besides, as commands. */
  readonly afterwards: (done: ReducedHost) => Promise<readonly string[]>
}

/**
 * For a stopped daemon: makes the kernel equal to a part of what this instance left there, gives borrowed sysctls back,
 * and forgets that anything was this instance's. Prints what it did as commands. Needs neither store nor configuration.
 *
 * @returns the exit code
 * @throws AlreadyRunningError while the daemon runs; PermissionError
 */
export async function reduceHost(needs: ReductionNeeds, options: Options, reduction: Reduction): Promise<number> {
  const { clock, log, port, print } = needs
  await requireNetAdmin()
  const lock = lockInstance(options.subnetFile, port.pid)
  const { name: instance, stateDir } = instanceOf(options)
  const conditions = new ConditionSet({
    clock,
    onChange: ({ condition: { text, remedy } }) => log.error(text, { remedy }),
  })
  const writes = new DiskWrites({ conditions, clock, isStarting: () => true })
  const state = await StateDir.open({ log, writes, randomBytes, uid: port.uid }, stateDir)
  const kernel = await createKernel()
  try {
    const { entries: recorded } = state.journal
    // A name that another instance has claimed meanwhile is that one's, though nothing of it may be there yet.
    const taken = takenEntries(recorded, claimedByOthers(instanceOf(options)))
    for (const entry of taken) print(`# another instance uses it now, left alone: ${keyOfEntry(entry)}\n`)
    const entries = withoutEntries(recorded, taken)
    const nothing: DesiredState = {
      objects: new Map(),
      complete: true,
      scope: { devices: new Set(), networks: [], instance },
    }
    const none = withJournal(nothing, entries)
    const isOnRecord = scopeOf(recorded).networks.length > 0
    const held = await objectsOf(kernel.tables, none)
    // Where this instance has not been, or has given all up, rules and subnet.env are flannel's own.
    const flannels = isOnRecord ? [] : held.filter(bearsFlannelsName)
    const kept = [...flannels, ...reduction.keep(held.filter((object) => !flannels.includes(object)))]
    const rest = { ...nothing, objects: byKey(kept.map(asDesired)) }
    const whole = withJournal(rest, entries)
    const { ops } = await preview(kernel.tables, whole)
    // The one on the disk ends when all is done.
    const reconciler = new Reconciler({ tables: kernel.tables, clock, log, journal: new MemoryJournal(entries) })
    await reconciler.settled(reconciler.setDesired(rest), port.stop)
    await reconciler.stop()
    const left = await preview(kernel.tables, whole)
    for (const op of ops)
      if (!left.ops.some((other) => keyOf(other.object) === keyOf(op.object))) print(`${commandsFor(op).join('\n')}\n`)
    if (left.ops.length > 0) {
      for (const op of left.ops) print(`# could not be done: ${commandsFor(op).join('; ')}\n`)
      return 1
    }
    await state.journal.clear()
    // Also before flannel takes over: on the way back its subnet counts, which subnet.env names.
    await forgetLastSubnets(state.files)
    await forgetLastKnown(state.files)
    await state.files.remove(WAYS_FILE)
    for (const command of await reduction.afterwards({ isOnRecord, kernel, files: state.files })) print(`${command}\n`)
    return 0
  } finally {
    kernel.close()
    lock.release()
  }
}

function byKey<O extends KernelObject>(objects: readonly O[]): ReadonlyMap<string, O> {
  return new Map(objects.map((object) => [keyOf(object), object]))
}

/** All that this instance made, or flannel before it. */
async function objectsOf(tables: readonly ObjectTable[], none: DesiredState): Promise<readonly KernelObject[]> {
  const found: KernelObject[] = []
  for (const table of tables) {
    const dump = await table.dump([], none.scope)
    found.push(...dump.filter((object) => ['ours', 'leftover'].includes(ownershipOf(object, none))))
  }
  return found
}
