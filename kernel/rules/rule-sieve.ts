import { holdsOnlyRules, ruleChainBytes } from '../netlink/nftables-messages.ts'
import { FORWARD_CHAIN, GUARD_TABLE, MASQUERADE_CHAIN, NFT_TABLES } from './names.ts'

/**
 * Tells whether a datagram of events may concern us, without reading its messages one by one: a busy kube-proxy writes thousands of
 * rules a second, eight to a datagram, and the names of what is ours are hardly ever among them. Searching bytes is the runtime's
 * own code; what is found is then read as usual.
 */
export class RuleSieve {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #own: readonly Buffer[]
  #others: readonly Buffer[] = []
  #othersOf: ReadonlySet<string> | undefined

  /** `chains` of others whose rules decide about our traffic. */
  constructor(buffer: Uint8Array, chains: Iterable<string>) {
    this.#bytes = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    const names = [MASQUERADE_CHAIN, FORWARD_CHAIN, GUARD_TABLE, ...Object.values(NFT_TABLES)]
    this.#own = [...names.map((name) => Buffer.from(name)), ...[...new Set(chains)].map(ruleChainBytes)]
  }

  /** `watched`: more such chains, as in `inet firewalld filter_FORWARD`. */
  passes(length: number, watched: ReadonlySet<string>): boolean {
    if (length > this.#bytes.length || !holdsOnlyRules(this.#view, length)) return true
    if (watched !== this.#othersOf) {
      this.#othersOf = watched
      this.#others = [...watched].map((name) => ruleChainBytes(name.slice(name.lastIndexOf(' ') + 1)))
    }
    const datagram = this.#bytes.subarray(0, length)
    return this.#own.some((bytes) => datagram.includes(bytes)) || this.#others.some((bytes) => datagram.includes(bytes))
  }
}
