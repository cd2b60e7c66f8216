import { FAMILIES, type IpAddr } from '../../lib/address.ts'
import type { NetlinkChannel } from '../netlink/channel.ts'
import { dumpConnections, parseMasqueraded } from '../netlink/conntrack-messages.ts'
import { OpFailure } from '../table.ts'

/** The connections that the kernel tracks, asked from it directly. */
export class Connections {
  readonly #channel: NetlinkChannel | undefined

  /** `channel` to NETLINK_NETFILTER; undefined where the kernel has none. */
  constructor(needs: { channel: NetlinkChannel | undefined }) {
    this.#channel = needs.channel
  }

  /** Where those with a translated source were made to, once for each. @throws OpFailure when the kernel does not say (no nf_conntrack_netlink, no permission) */
  async masqueraded(): Promise<readonly IpAddr[]> {
    const channel = this.#channel
    if (channel === undefined) throw new OpFailure({ code: 'EPROTONOSUPPORT', message: 'no netfilter in this kernel' })
    const found: IpAddr[] = []
    for (const family of FAMILIES) found.push(...(await channel.dump(dumpConnections(family), parseMasqueraded)))
    return found
  }
}
