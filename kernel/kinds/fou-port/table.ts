import type { Clock } from '../../../lib/clock.ts'
import { Latest } from '../../../lib/latest.ts'
import { resultOf } from '../../netlink/device-batch.ts'
import { addFouPort, deleteFouPort, dumpFouPorts, FOU_FAMILY, parseFouPort } from '../../netlink/fou-messages.ts'
import type { GenericNetlink } from '../../netlink/generic.ts'
import { compare, type FouPort, keyOf } from '../../objects.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import { udpPortHolder } from '../holders.ts'

/** A look costs two system calls, made only while there is a port. */
const LOOK_MS = 500

/** UDP ports that the kernel unwraps packets from. Empty where the kernel has no FOU, or not yet: nothing loads the module by itself. */
export class FouPortTable implements ObjectTable<FouPort> {
  readonly kind = 'fou-port'
  readonly #generic: GenericNetlink | undefined
  readonly #clock: Clock
  /** As the reconciler has them. */
  readonly #known = new Latest<readonly FouPort[]>('fou ports')

  /** `generic` undefined: this process may not speak generic netlink. */
  constructor(needs: { generic: GenericNetlink | undefined; clock: Clock }) {
    this.#generic = needs.generic
    this.#clock = needs.clock
  }

  async dump(): Promise<readonly FouPort[]> {
    const ports = await this.#read()
    this.#known.set(ports)
    return ports
  }

  // One by one: there is one, as a rule.
  async apply(ops: readonly Op<FouPort>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = []
    for (const op of ops) results.push(resultOf(await this.#applyOne(op)))
    await this.dump().catch(() => {})
    return results
  }

  /** Looks again and again, because the kernel has no events of ports that somebody opens or closes. */
  async watch(onChange: () => void, signal: AbortSignal): Promise<void> {
    for await (const _ of this.#known.watch(signal)) {
      // Without a port there is none to lose.
      while (this.#known.current?.length) {
        const known = this.#known.current
        await this.#clock.sleep(LOOK_MS, signal).catch(() => {})
        if (signal.aborted) return
        const found = await this.#read().catch(() => known)
        if (this.#known.current !== known || isSame(found, known)) continue
        // Until the reconciler has looked, too.
        this.#known.set(found)
        onChange()
      }
    }
  }

  async #read(): Promise<readonly FouPort[]> {
    const family = await this.#generic?.familyOf(FOU_FAMILY)
    if (this.#generic === undefined || family === undefined) return []
    return await this.#generic.channel.dump(dumpFouPorts(family), parseFouPort)
  }

  async #applyOne(op: Op<FouPort>): Promise<OpError | undefined> {
    const family = await this.#generic?.familyOf(FOU_FAMILY).catch(() => undefined)
    if (family === undefined) return op.verb === 'remove' ? NOT_THERE : NO_FOU
    switch (op.verb) {
      case 'create':
        return await this.#add(family, op.object)
      case 'remove':
        return await this.#delete(family, op.object)
      case 'update':
      case 'recreate':
        return (await this.#delete(family, op.actual)) ?? (await this.#add(family, op.object))
    }
  }

  async #add(family: number, object: FouPort): Promise<OpError | undefined> {
    const verdict = await this.#ask(addFouPort(family, object))
    if (verdict?.code !== 'EADDRINUSE') return verdict
    return { code: verdict.code, message: `UDP port ${object.port} is in use by ${udpPortHolder(object.port)}` }
  }

  // The kernel deletes by port alone and says "invalid argument" where there is none.
  async #delete(family: number, object: FouPort): Promise<OpError | undefined> {
    const there = await this.#read()
    if (!there.some((held) => held.port === object.port && compare(held, object) === 'same')) return NOT_THERE
    return await this.#ask(deleteFouPort(family, object))
  }

  async #ask(message: Uint8Array): Promise<OpError | undefined> {
    const [verdict] = (await this.#generic?.channel.request([message])) ?? []
    return verdict
  }
}

function isSame(some: readonly FouPort[], others: readonly FouPort[]): boolean {
  if (some.length !== others.length) return false
  const byKey = new Map(others.map((port) => [keyOf(port), port]))
  return some.every((port) => {
    const other = byKey.get(keyOf(port))
    return other !== undefined && compare(other, port) === 'same'
  })
}

const NOT_THERE: OpError = { code: 'ENOENT', message: 'there is no such port' }
const NO_FOU: OpError = {
  code: 'EOPNOTSUPP',
  message: 'the kernel has no FOU: the module fou is missing or not loaded',
}
