import type { IpAddr } from '../../../lib/address.ts'
import type { Comparison, Kind } from '../kind.ts'

/**
 * A worker of this process that carries packets between a tun device and a UDP port. It lives no longer than the process. Its
 * table: `backends/udp/proxy-tables.ts`.
 */
export interface UdpProxy {
  readonly kind: 'udp-proxy'
  /** Name of the tun. */
  readonly device: string
  /** Address of the socket. */
  readonly local: IpAddr
  /** Of this node and of every peer; host byte order. */
  readonly port: number
  /** The tun's address: source of "net unreachable". */
  readonly own: IpAddr
}

export const udpProxy: Kind<UdpProxy> = {
  name: 'udp-proxy',
  // It hangs on our own process, which tells of itself.
  events: true,
  removed: true,
  // It is on no device, though it has one: a proxy would make its device anew, so it must be gone before it, not with it.
  key: ({ device }) => `udp-proxy ${device}`,
  compare: compareProxies,
  // Nobody else can make one in this process.
  ownership: () => 'ours',
  describe: text,
  commands: {
    create: (object) => [`# in flanneld: ${text(object)}`],
    update: (object) => [`# in flanneld: ${text(object)}`],
    remove: (object) => `# ends with flanneld: ${text(object)}`,
  },
}

function compareProxies(actual: UdpProxy, desired: UdpProxy): Comparison {
  if (actual.local !== desired.local || actual.port !== desired.port) return 'recreate'
  return actual.own === desired.own ? 'same' : 'update'
}

function text({ device, local, port, own }: UdpProxy): string {
  return `udp proxy of ${device} at ${local}:${port}, own address ${own}`
}
