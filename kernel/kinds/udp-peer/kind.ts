import type { Cidr, IpAddr } from '../../../lib/address.ts'
import { joinedKey, type Kind } from '../kind.ts'

/** A subnet that this process's udp proxy sends to, and takes packets from. Its table: `backends/udp/proxy-tables.ts`. */
export interface UdpPeer {
  readonly kind: 'udp-peer'
  /** Name of the proxy's tun. */
  readonly device: string
  readonly subnet: Cidr
  readonly publicIp: IpAddr
}

export const udpPeer: Kind<UdpPeer> = {
  name: 'udp-peer',
  // It hangs on our own process, which tells of itself.
  events: true,
  removed: true,
  key: ({ device, subnet }) => joinedKey(`udp-peer ${device}`, subnet),
  compare: (actual, desired) => (actual.publicIp === desired.publicIp ? 'same' : 'update'),
  // Nobody else can make one in this process.
  ownership: () => 'ours',
  describe: text,
  commands: {
    create: (object) => [`# in flanneld: ${text(object)}`],
    update: (object) => [`# in flanneld: ${text(object)}`],
    remove: (object) => `# ends with flanneld: ${text(object)}`,
  },
}

function text({ device, subnet, publicIp }: UdpPeer): string {
  return `${subnet} to ${publicIp} by the udp proxy of ${device}`
}
