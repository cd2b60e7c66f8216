import type { GuardChain, GuardHook } from '../kinds/guard-chains/kind.ts'
import type { GuardSet } from '../kinds/guard-sets/kind.ts'
import { BATCH_BYTES, type NetlinkChannel } from '../netlink/channel.ts'
import {
  dumpInetChains,
  dumpObjectsOf,
  dumpRulesOf,
  dumpSetsOf,
  parseChain,
  parseCounter,
  parseRule,
  parseSet,
} from '../netlink/guard-messages.ts'
import type { Message } from '../netlink/message.ts'
import {
  dumpElements,
  eachElement,
  getElement,
  type SeenElement,
  type SetElement,
  type SetName,
  seenOf,
  transactionBounds,
} from '../netlink/set-element-messages.ts'
import { type OpError, OpFailure } from '../table.ts'
import { instanceOfGuard } from './names.ts'
import type { Netfilter } from './netfilter.ts'

/** NF_INET_* numbers. */
const HOOKS: Readonly<Record<number, GuardHook>> = { 0: 'prerouting', 1: 'input', 2: 'forward' }

/** Reads tables of ingress guards and changes elements of their sets, all of it without starting a program. */
export class GuardKernel {
  readonly netfilter: Netfilter
  readonly #channel: NetlinkChannel | undefined

  /** `channel` to NETLINK_NETFILTER; undefined where the kernel has none. */
  constructor(needs: { netfilter: Netfilter; channel: NetlinkChannel | undefined }) {
    this.netfilter = needs.netfilter
    this.#channel = needs.channel
  }

  /** Names of the tables, of whatever instance. @throws OpFailure, as all of these */
  async tables(): Promise<readonly string[]> {
    const tables = await this.netfilter.tables()
    return tables.flatMap(({ family, name }) =>
      family === 'inet' && instanceOfGuard(name) !== undefined ? [name] : [],
    )
  }

  async sets(table: string): Promise<readonly GuardSet[]> {
    const found = await this.#dump(dumpSetsOf(table), parseSet)
    // A rule's own sets have no name that one could ask for.
    const named = found.filter((set) => set.table === table && !set.name.startsWith('__'))
    return named.map(({ name, mark }) => ({ name, body: '', mark }))
  }

  /** Packets by name of the counter. */
  async counters(table: string): Promise<ReadonlyMap<string, number>> {
    const found = await this.#dump(dumpObjectsOf(table), parseCounter)
    return new Map(found.filter((counter) => counter.table === table).map(({ name, packets }) => [name, packets]))
  }

  async chains(table: string): Promise<readonly GuardChain[]> {
    const chains = (await this.#dump(dumpInetChains(), parseChain)).filter((chain) => chain.table === table)
    if (chains.length === 0) return []
    const rules = (await this.#dump(dumpRulesOf(table), parseRule)).filter((rule) => rule.table === table)
    return chains.map(({ name, base }) => ({
      name,
      ...(base === undefined ? {} : { base: { hook: HOOKS[base.hook] ?? 'other', priority: base.priority } }),
      rules: rules.filter(({ chain }) => chain === name).map(({ mark }) => ({ text: '', mark })),
    }))
  }

  async elements(name: SetName): Promise<readonly SetElement[]> {
    return await this.#dumpElements(name, (item) => item)
  }

  /** Elements that packets made. */
  async seen(name: SetName): Promise<readonly SeenElement[]> {
    return await this.#dumpElements(name, seenOf)
  }

  /** Comments of the elements that are there, in order; undefined: it is not. */
  async commentsOf(
    elements: readonly { readonly set: SetName; readonly item: SetElement }[],
  ): Promise<readonly (string | undefined)[]> {
    const comments: (string | undefined)[] = elements.map(() => undefined)
    await this.#channel?.request(
      elements.map(({ set, item }) => getElement(set, item)),
      (index, message) => {
        const set = elements[index]?.set
        if (set !== undefined) eachElement(message, set, ({ comment }) => (comments[index] = comment))
      },
    )
    return comments
  }

  /**
   * All of the messages take effect, or none: then at least one verdict is a refusal. They take no more than `MOST_BYTES` together.
   */
  async transact(messages: readonly Uint8Array[]): Promise<readonly (OpError | undefined)[]> {
    const channel = this.#channel
    if (channel === undefined) return messages.map(() => ({ code: 'EPROTONOSUPPORT', message: 'no nf_tables' }))
    const [begin, end] = transactionBounds()
    const [began, ...verdicts] = await channel.exchange([begin, ...messages, end])
    const own = verdicts.slice(0, messages.length)
    // A refusal of the whole answers the first message; what else is told of is undone then.
    if (began === undefined || isLost(began)) return own
    return own.map((verdict) => (verdict === undefined || isLost(verdict) ? began : verdict))
  }

  async #dumpElements<T>(
    name: SetName,
    read: (item: SetElement, attributes: Parameters<typeof seenOf>[1]) => T,
  ): Promise<readonly T[]> {
    const found = await this.#dump(dumpElements(name), (message: Message) => {
      const items: T[] = []
      eachElement(message, name, (item, attributes) => void items.push(read(item, attributes)))
      return items
    })
    return found.flat()
  }

  // A list that is gone is an empty one.
  async #dump<T>(request: Uint8Array, parse: (message: Message) => T | undefined): Promise<T[]> {
    try {
      return (await this.#channel?.dump(request, parse)) ?? []
    } catch (cause) {
      if (cause instanceof OpFailure && cause.code === 'ENOENT') return []
      throw cause
    }
  }
}

/** Nothing is known: the channel has no verdict. */
function isLost(verdict: OpError): boolean {
  return verdict.code === 'ENOBUFS'
}

/** Room for the messages of one transaction. */
export const MOST_BYTES = BATCH_BYTES - 64
