import type { IpAddr } from '../../../lib/address.ts'
import { type Kind, phrase } from '../kind.ts'

/**
 * A UDP port whose IPv4 datagrams the kernel unwraps: behind the UDP header stands a packet of the IP protocol (4: IPv4 itself),
 * received as if it had come without. Source: linux/fou.h.
 */
export interface FouPort {
  readonly kind: 'fou-port'
  /** Host byte order. */
  readonly port: number
  readonly protocol: number
  /** Only datagrams to this address; undefined: to every one, as ours. */
  readonly local?: IpAddr
}

/** IANA protocol number of IPv4 in IPv4. */
export const IPPROTO_IPIP = 4

export const fouPort: Kind<FouPort> = {
  name: 'fou-port',
  events: false,
  removed: true,
  key: ({ port }) => `fou-port ${port}`,
  compare: (actual, desired) =>
    actual.protocol === desired.protocol && actual.local === desired.local ? 'same' : 'recreate',
  ownership({ port, protocol, local }, wanted, { scope }) {
    // Two programs may ask for the same port in the same way; any other way to use it is somebody else's.
    if (wanted !== undefined || local !== undefined || protocol !== IPPROTO_IPIP) return 'foreign'
    return scope.fouPorts?.has(port) ? 'ours' : 'foreign'
  },
  entry: ({ port }) => ({ kind: 'fou-port', port }),
  module: () => 'fou',
  describe: ({ port, protocol, local }) => phrase(`fou port ${port} ipproto ${protocol}`, local && `local ${local}`),
  commands: {
    create: addition,
    update: addition,
    remove: (object) => `ip fou del ${portText(object)}`,
  },
}

function addition(object: FouPort): readonly string[] {
  return [`ip fou add ${portText(object)} ipproto ${object.protocol}`]
}

function portText({ port, local }: FouPort): string {
  return local === undefined ? `port ${port}` : `port ${port} local ${local}`
}
