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

/** What is put on this device is there for who has it already: nobody else shall choose it as a source. */
export const LOOPBACK = 'lo'

/** The kernel makes these by itself, and neighbour discovery needs them. */
const LINK_LOCAL = 'fe80::/10' as Cidr

export const address: Kind<Address> = {
  name: 'address',
  events: true,
  removed: true,
  key: ({ device, address, length }) => `address ${device} ${address}/${length}`,
  compare: () => 'same',
  ownership({ device, family, address, length }, _wanted, { scope }) {
    if (device === LOOPBACK) return scope.addresses?.has(`${address}/${length}`) ? 'ours' : 'foreign'
    if (family === 6 && contains(LINK_LOCAL, address)) return 'foreign'
    return scope.devices.has(device) ? 'ours' : 'foreign'
  },
  entry: ({ device, address, length }) =>
    device === LOOPBACK ? { kind: 'address', address: `${address}/${length}` } : undefined,
  device: ({ device }) => device,
  showsOtherUser: ({ address }, own) => ![...own, LINK_LOCAL].some((range) => contains(range, address)),
  describe: text,
  commands: {
    create: (object) => [`ip address add ${text(object)}${manner(object)}`],
    update: (object) => [`ip address replace ${text(object)}${manner(object)}`],
    remove: (object) => `ip address delete ${text(object)}`,
  },
}

function text({ address, length, device }: Address): string {
  return `${address}/${length} dev ${device}`
}

function manner({ device, family }: Address): string {
  if (device !== LOOPBACK) return ''
  return family === 4 ? ' scope host' : ' preferred_lft 0'
}
