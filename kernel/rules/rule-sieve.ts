import { ruleChainBytes } from '../netlink/nftables-messages.ts'

/** In the names of all that is ours: `FLANNEL-FWD`, `flannel-ipv4`, `flanneld-guard`. */
const OWN = ['FLANNEL-', 'flannel'].map((name) => Buffer.from(name))

/**
 * Finds out whether there are events of rules that may concern us, without reading them one by one: a busy kube-proxy writes thousands a
 * second, and the names of what is ours are hardly ever among them. Searching bytes is the runtime's own code.
 */
export class RuleSieve {
  readonly #bytes: Buffer
  readonly #own: readonly Buffer[]
  #others: readonly Buffer[] = []
  #othersOf: ReadonlySet<string> | undefined

  /** `buffer` will hold the events; `chains` are those of others whose rules decide about our traffic. */
  constructor(buffer: Uint8Array, chains: Iterable<string>) {
    this.#bytes = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    this.#own = [...OWN, ...[...new Set(chains)].map(ruleChainBytes)]
  }

  /** `watched`: more such chains, as in `inet firewalld filter_FORWARD`. */
  holdsRulesOfOurs(length: number, watched: ReadonlySet<string>): boolean {
    if (watched !== this.#othersOf) {
      this.#othersOf = watched
      this.#others = [...watched].map((name) => ruleChainBytes(name.slice(name.lastIndexOf(' ') + 1)))
    }
    const events = this.#bytes.subarray(0, length)
    return this.#own.some((bytes) => events.includes(bytes)) || this.#others.some((bytes) => events.includes(bytes))
  }
}
