import { FAMILIES } from '../../lib/address.ts'
import { NetlinkChannel } from '../netlink/channel.ts'
import { dumpTranslated, parseTranslated, type Translated } from '../netlink/conntrack-messages.ts'
import type { NetlinkSocket } from '../netlink/socket.ts'
import { OpFailure } from '../table.ts'

export type { Translated } from '../netlink/conntrack-messages.ts'

/** Where the kernel says how many connections it tracks; absent without its module nf_conntrack. */
const TRACKED = 'net/netfilter/nf_conntrack_count'

interface ConnectionsNeeds {
  /** A socket to NETLINK_NETFILTER; undefined where the kernel has none. */
  readonly open: () => NetlinkSocket | undefined
  /** A value below /proc/sys; undefined where there is none. */
  readonly sysctl: (path: string) => string | undefined
}

/** The connections that the kernel tracks, asked from it directly. */
export class Connections {
  readonly #needs: ConnectionsNeeds

  constructor(needs: ConnectionsNeeds) {
    this.#needs = needs
  }

  /** How many of those with a translated source are meant; none of them is kept. @throws OpFailure when the kernel does not say */
  async count(isMeant: (connection: Translated) => boolean): Promise<number> {
    // To be asked makes the kernel load nf_conntrack_netlink, and nf_conntrack with it: a host that tracks nothing stays without.
    const tracked = this.#needs.sysctl(TRACKED)
    if (tracked === undefined || tracked === '0') return 0
    // Of its own: a list of 100,000 takes a while, and what changes rules and guard must not wait for it.
    const socket = this.#needs.open()
    if (socket === undefined) throw new OpFailure({ code: 'EPROTONOSUPPORT', message: 'no netfilter in this kernel' })
    try {
      return await countIn(new NetlinkChannel({ socket }), isMeant)
    } catch (cause) {
      if (!(cause instanceof OpFailure) || cause.code !== 'EINVAL') throw cause
      // What nfnetlink says to a message that no module takes.
      throw new OpFailure({ code: cause.code, message: 'the kernel has no module nf_conntrack_netlink' })
    } finally {
      socket.close()
    }
  }
}

async function countIn(channel: NetlinkChannel, isMeant: (connection: Translated) => boolean): Promise<number> {
  let count = 0
  for (const family of FAMILIES) {
    const found = await channel.dump(dumpTranslated(family), (message) => {
      const connection = parseTranslated(message)
      return connection !== undefined && isMeant(connection) ? true : undefined
    })
    count += found.length
  }
  return count
}
