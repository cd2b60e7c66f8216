import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { commandsFor } from '../../kernel/command.ts'
import { createKernel } from '../../kernel/kernel.ts'
import { keyOf } from '../../kernel/objects.ts'
import { preview } from '../../kernel/plan-ops.ts'
import { Reconciler } from '../../kernel/reconciler.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import { requireNetAdmin } from '../options/node-options.ts'
import type { Options } from '../options/options.ts'
import type { ProcessPort } from '../process-port.ts'
import { sysctlReturns } from '../state/borrowed-sysctls.ts'
import { instanceOf } from '../state/instance.ts'
import { lockInstance } from '../state/instance-lock.ts'
import { StateDir } from '../state/state-dir.ts'

interface CleanupNeeds {
  readonly clock: Clock
  readonly log: Logger
  readonly port: ProcessPort
  readonly print: (text: string) => void
}

/**
 * `flanneld cleanup`: makes the kernel equal to nothing of ours: devices, routes, neighbours, FDB entries, rules of this
 * instance, then subnet.env and the state directory's files. The lease in the store is left to run out: a host that
 * starts again within a day takes it back.
 */
export async function runCleanup(needs: CleanupNeeds, options: Options): Promise<number> {
  const { clock, log, port, print } = needs
  await requireNetAdmin()
  const lock = lockInstance(options.subnetFile, port.pid)
  const { name: instance, stateDir } = instanceOf(options)
  const state = await StateDir.open({ log, randomBytes, uid: port.uid }, stateDir)
  const kernel = await createKernel()
  try {
    const returns = sysctlReturns(state.sysctls.originals, new Map())
    const objects = new Map(returns.map((object) => [keyOf(object), object]))
    // Nothing of ours, and the host's own sysctls as they were.
    const nothing = { objects, complete: true, scope: { ...state.footprint, instance } }
    const { ops } = await preview(kernel.tables, nothing)
    const reconciler = new Reconciler({ tables: kernel.tables, clock, log })
    await reconciler.settled(reconciler.setDesired(nothing), port.stop)
    await reconciler.stop()
    const left = await preview(kernel.tables, nothing)
    for (const op of ops)
      if (!left.ops.some((other) => keyOf(other.object) === keyOf(op.object))) print(`${commandsFor(op).join('\n')}\n`)
    if (left.ops.length > 0) {
      for (const op of left.ops) print(`# could not be removed: ${commandsFor(op).join('; ')}\n`)
      return 1
    }
    await rm(options.subnetFile, { force: true })
    await state.forget()
    await state.sysctls.returned(returns)
    print(`rm -f ${options.subnetFile}\n`)
    return 0
  } finally {
    kernel.close()
    lock.release()
  }
}
