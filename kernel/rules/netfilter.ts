import type { NetlinkChannel } from '../netlink/channel.ts'
import {
  type BaseChain,
  dumpChains,
  dumpTables,
  getGeneration,
  parseBaseChain,
  parseGeneration,
  parseTable,
  type TableName,
} from '../netlink/nftables-messages.ts'

/**
 * What the kernel itself says of its rule sets, without starting a program: which tables there are, and a number that shows whether
 * anything has changed since.
 */
export class Netfilter {
  readonly #channel: NetlinkChannel | undefined

  /** `channel` to NETLINK_NETFILTER; undefined where the kernel has none. */
  constructor(needs: { channel: NetlinkChannel | undefined }) {
    this.#channel = needs.channel
  }

  /** Undefined: the kernel does not say, so nothing may be taken for unchanged. */
  async generation(): Promise<number | undefined> {
    let generation: number | undefined
    await this.#channel?.request([getGeneration()], (_index, message) => {
      generation ??= parseGeneration(message)
    })
    return generation
  }

  /** Empty where the kernel has no nf_tables. */
  async tables(): Promise<readonly TableName[]> {
    return await this.#dump(dumpTables(), parseTable)
  }

  async baseChains(): Promise<readonly BaseChain[]> {
    return await this.#dump(dumpChains(), parseBaseChain)
  }

  async #dump<T>(request: Uint8Array, parse: Parameters<NetlinkChannel['dump']>[1]): Promise<T[]> {
    if (this.#channel === undefined || (await this.generation()) === undefined) return []
    return (await this.#channel.dump(request, parse)) as T[]
  }
}
