import type { IpAddr, MacAddr } from '../../../lib/address.ts'
import { joinedKey, type Kind } from '../kind.ts'

/** A permanent entry of a vxlan device's own forwarding database: frames to `mac` go to the VTEP at `dst`. */
export interface Fdb {
  readonly kind: 'fdb'
  readonly device: string
  readonly mac: MacAddr
  readonly dst: IpAddr
}

export const fdb: Kind<Fdb> = {
  name: 'fdb',
  events: true,
  removed: true,
  key: ({ device, mac }) => joinedKey('fdb', device, mac),
  compare: (actual, desired) => (actual.dst === desired.dst ? 'same' : 'update'),
  ownership({ device }, wanted, { scope }) {
    // It carries no mark of its maker. Nobody else has business on our devices.
    if (!scope.devices.has(device)) return 'foreign'
    return wanted === undefined ? 'ours' : 'adoptable'
  },
  device: ({ device }) => device,
  describe: ({ mac, dst, device }) => `${mac} dst ${dst} dev ${device}`,
  commands: {
    create: ({ mac, device, dst }) => [`bridge fdb add ${mac} dev ${device} dst ${dst} self permanent`],
    update: ({ mac, device, dst }) => [`bridge fdb replace ${mac} dev ${device} dst ${dst} self permanent`],
    remove: ({ mac, device, dst }) => `bridge fdb delete ${mac} dev ${device} dst ${dst} self`,
  },
}
