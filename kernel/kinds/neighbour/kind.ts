import type { Family, IpAddr, MacAddr } from '../../../lib/address.ts'
import { joinedKey, type Kind } from '../kind.ts'

/** A permanent neighbour entry (ARP, ND). */
export interface Neighbour {
  readonly kind: 'neighbour'
  readonly family: Family
  readonly device: string
  readonly address: IpAddr
  readonly mac: MacAddr
}

export const neighbour: Kind<Neighbour> = {
  name: 'neighbour',
  events: true,
  removed: true,
  key: ({ device, address }) => joinedKey('neighbour', device, address),
  compare: (actual, desired) => (actual.mac === desired.mac ? 'same' : 'update'),
  ownership({ device }, wanted, { scope }) {
    // It carries no mark of its maker. Nobody else has business on our devices.
    if (!scope.devices.has(device)) return 'foreign'
    return wanted === undefined ? 'ours' : 'adoptable'
  },
  device: ({ device }) => device,
  describe: text,
  commands: {
    create: (object) => [`ip neighbour add ${text(object)} nud permanent`],
    update: (object) => [`ip neighbour replace ${text(object)} nud permanent`],
    remove: ({ address, device }) => `ip neighbour delete ${address} dev ${device}`,
  },
}

function text({ address, mac, device }: Neighbour): string {
  return `${address} lladdr ${mac} dev ${device}`
}
