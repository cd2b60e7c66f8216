import { FAMILIES, familyOf, type IpAddr } from '../lib/address.ts'
import { NetlinkChannel } from './netlink/channel.ts'
import type { NetlinkSocket } from './netlink/socket.ts'
import { dumpSocketsAt, IPPROTO_TCP, IPPROTO_UDP, parseSocket } from './netlink/socket-messages.ts'

/** The sockets of the processes in this network namespace: those of containers are in others. */
export class HostSockets {
  readonly #open: () => NetlinkSocket

  /** `open`: a socket to NETLINK_SOCK_DIAG. */
  constructor(needs: { open: () => NetlinkSocket }) {
    this.#open = needs.open
  }

  /** How many TCP and UDP sockets have this address, listening ones included. @throws OpFailure when the kernel does not say (no inet_diag) */
  async countAt(address: IpAddr): Promise<number> {
    const socket = this.#open()
    try {
      const channel = new NetlinkChannel({ socket })
      let count = 0
      for (const protocol of [IPPROTO_TCP, IPPROTO_UDP])
        for (const family of familyOf(address) === 4 ? FAMILIES : [6 as const])
          count += (await channel.dump(dumpSocketsAt(address, protocol, family), parseSocket)).length
      return count
    } finally {
      socket.close()
    }
  }
}
