import { type Cidr, contains, type Family, type IpAddr } from '../../../lib/address.ts'
import type { Kind } from '../kind.ts'

/** An address of a device. */
export interface Address {
  readonly kind: 'address'
  readonly device: string
  readonly family: Family
  readonly address: IpAddr
  /** Prefix length in bits. */
  readonly length: number
}

/** The kernel makes these by itself, and neighbour discovery needs them. */
const LINK_LOCAL = 'fe80::/10' as Cidr

export const address: Kind<Address> = {
  name: 'address',
  events: true,
  removed: true,
  key: ({ device, address, length }) => `address ${device} ${address}/${length}`,
  compare: () => 'same',
  ownership({ device, family, address }, _wanted, { scope }) {
    if (family === 6 && contains(LINK_LOCAL, address)) return 'foreign'
    return scope.devices.has(device) ? 'ours' : 'foreign'
  },
  device: ({ device }) => device,
  showsOtherUser: ({ address }, own) => ![...own, LINK_LOCAL].some((range) => contains(range, address)),
  describe: text,
  commands: {
    create: (object) => [`ip address add ${text(object)}`],
    update: (object) => [`ip address replace ${text(object)}`],
    remove: (object) => `ip address delete ${text(object)}`,
  },
}

function text({ address, length, device }: Address): string {
  return `${address}/${length} dev ${device}`
}
