import type { Cidr } from '../lib/address.ts'
import type { Logger } from '../lib/log.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import { acceptPeers, type PeerVerdicts } from '../subnet/peer-rules.ts'
import type { Lease, LeaseSnapshot, RejectedLease } from '../subnet/types.ts'

/** Judges every snapshot as a whole and says each rejection once. */
export class PeerView {
  readonly #log: Logger
  readonly #protectedRanges: readonly Cidr[]
  #said = new Map<string, string>()

  constructor(needs: { log: Logger }, options: { protectedRanges: readonly Cidr[] }) {
    this.#log = needs.log
    this.#protectedRanges = options.protectedRanges
  }

  judge(input: {
    snapshot: LeaseSnapshot
    own: Lease
    network: NetworkConfig
    hostRanges: readonly Cidr[]
  }): PeerVerdicts {
    const verdicts = acceptPeers({ ...input, protectedRanges: this.#protectedRanges, exactSubnets: true })
    this.#say(verdicts.rejected)
    return verdicts
  }

  #say(rejected: readonly RejectedLease[]): void {
    const said = new Map<string, string>()
    for (const { id, reason, text } of rejected) {
      if (this.#said.get(id) !== reason) this.#log.warn('lease rejected', { id, reason, why: text })
      said.set(id, reason)
    }
    this.#said = said
  }
}
