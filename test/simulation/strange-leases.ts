import { type Cidr, cidrOf, type Family, type IpAddr, networkAddress } from '../../lib/address.ts'

/** Of whom a strange lease may say something: a node of the network. */
export interface Victim {
  readonly address: IpAddr
  readonly mac: string
  readonly subnets: ReadonlyMap<Family, Cidr>
}

export interface StrangeLease {
  readonly id: string
  readonly value: string
}

/** NodeID of one that has a NodeID. */
export const STRANGER = 'f'.repeat(32)

const MAC = '02:bb:00:00:00:0'

/** What anybody can write below the prefix. Some of it may be routed, now or once the victim has moved. */
export const STRANGE_LEASES: readonly ((victim: Victim) => StrangeLease | undefined)[] = [
  () => ({ id: '10.64.250.0-24', value: 'nonsense' }),
  () => lease('10.64.251.0-24', { publicIp: '127.0.0.1', mac: `${MAC}1` }),
  ({ address }) => lease('10.64.252.0-24', { publicIp: address, mac: `${MAC}2`, node: STRANGER }),
  () => lease('192.0.2.0-24', { publicIp: '198.51.100.1', mac: `${MAC}3` }),
  () => lease('10.64.253.0-24', { publicIp: '198.51.100.2', mac: 'not a mac' }),
  () => lease('10.64.200.0-22', { publicIp: '198.51.100.3', mac: `${MAC}4` }),
  () => ({ id: '10.64.254.0-24', value: '{"PublicIP":"198.51.100.4"}' }),
  ({ mac }) => lease('10.64.249.0-24', { publicIp: '198.51.100.5', mac }),
  // Its own address is inside its subnet.
  () => lease('10.64.248.0-24', { publicIp: '10.64.248.9', mac: `${MAC}6` }),
  // Around the hosts that live inside the network.
  () => lease('10.79.0.0-24', { publicIp: '198.51.100.7', mac: `${MAC}7` }),
  () => lease('10.72.0.0-13', { publicIp: '198.51.100.8', mac: `${MAC}8` }),
  ({ subnets }) => {
    const own = subnets.get(4)
    if (own === undefined) return undefined
    const around = cidrOf(networkAddress(own), 22)
    return lease(around.replace('/', '-'), { publicIp: '198.51.100.9', mac: `${MAC}9` })
  },
  // It is where a container of the victim could be.
  ({ subnets }) => {
    const own = subnets.get(4)
    if (own === undefined) return undefined
    return lease('10.64.247.0-24', { publicIp: networkAddress(own).replace(/0$/, '7'), mac: `${MAC}a` })
  },
]

/** Five flannels. */
export const RACK: readonly StrangeLease[] = [0, 1, 2, 3, 4].map((number) =>
  lease(`10.64.${240 + number}.0-24`, { publicIp: `198.51.100.${100 + number}`, mac: `02:cc:00:00:00:0${number}` }),
)

export function subnetOf({ id }: StrangeLease): Cidr {
  return id.replace('-', '/') as Cidr
}

function lease(id: string, { publicIp, mac, node }: { publicIp: string; mac: string; node?: string }): StrangeLease {
  const data = { VNI: 1, VtepMAC: mac }
  return {
    id,
    value: JSON.stringify({
      PublicIP: publicIp,
      ...(node === undefined ? {} : { NodeID: node }),
      BackendType: 'vxlan',
      BackendData: data,
    }),
  }
}
