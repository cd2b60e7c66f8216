import { addFouPort, deleteFouPort, dumpFouPorts, FOU_FAMILY, parseFouPort } from '../netlink/fou-messages.ts'
import type { GenericNetlink } from '../netlink/generic.ts'
import { compare, type FouPort } from '../objects.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../table.ts'
import { resultOf } from './device-batch.ts'

/** UDP ports that the kernel unwraps packets from. Empty where the kernel has no FOU, or not yet: nothing loads the module by itself. */
export class FouPortTable implements ObjectTable<FouPort> {
  readonly kind = 'fou-port'
  readonly #generic: GenericNetlink | undefined

  /** `generic` undefined: this process may not speak generic netlink. */
  constructor(needs: { generic: GenericNetlink | undefined }) {
    this.#generic = needs.generic
  }

  async dump(): Promise<readonly FouPort[]> {
    const family = await this.#generic?.familyOf(FOU_FAMILY)
    if (this.#generic === undefined || family === undefined) return []
    return await this.#generic.channel.dump(dumpFouPorts(family), parseFouPort)
  }

  // One by one: there is one, as a rule.
  async apply(ops: readonly Op<FouPort>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = []
    for (const op of ops) results.push(resultOf(await this.#applyOne(op)))
    return results
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
    return { code: verdict.code, message: `UDP port ${object.port} is in use by another program` }
  }

  // The kernel deletes by port alone and says "invalid argument" where there is none.
  async #delete(family: number, object: FouPort): Promise<OpError | undefined> {
    const there = await this.dump()
    if (!there.some((held) => held.port === object.port && compare(held, object) === 'same')) return NOT_THERE
    return await this.#ask(deleteFouPort(family, object))
  }

  async #ask(message: Uint8Array): Promise<OpError | undefined> {
    const [verdict] = (await this.#generic?.channel.request([message])) ?? []
    return verdict
  }
}

const NOT_THERE: OpError = { code: 'ENOENT', message: 'there is no such port' }
const NO_FOU: OpError = {
  code: 'EOPNOTSUPP',
  message: 'the kernel has no FOU: the module fou is missing or not loaded',
}
