import type { IpAddr } from '../../lib/address.ts'

/** A round of probes to one peer in one family. */
export interface ProbeRound {
  /** Of this host, in its own subnet. */
  readonly from: IpAddr
  /** Of the peer, in its subnet. */
  readonly to: IpAddr
  /** `tried`: by the way that is to be proven; `used`: as every other packet. */
  readonly by: 'tried' | 'used'
  /** Bytes of the largest packet. */
  readonly bytes: number
}

/** Where probes go out, and are answered. */
export interface ProbePort {
  /** Answers at these addresses and can send from them, at no others. `taken`: ports of this host's tunnels. @throws what keeps it from that */
  open(addresses: readonly IpAddr[], taken: readonly number[]): Promise<void>
  /** Small packets and large ones, of several ports. Returns what was not answered, in words; undefined: all was. */
  send(round: ProbeRound, signal: AbortSignal): Promise<string | undefined>
}
