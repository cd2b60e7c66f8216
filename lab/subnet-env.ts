import type { Cidr } from '../lib/address.ts'
import { parseCidr, parseInterfaceCidr } from '../lib/address.ts'

/** What a daemon tells a CNI plugin. Read here apart from the daemon's own code: the lab is the judge of that file. */
export interface SubnetEnv {
  /** One per family that the daemon serves, IPv4 first. */
  readonly families: readonly FamilySubnet[]
  /** Bytes. */
  readonly mtu: number
  readonly ipMasq: boolean
  /** The file as it stands. */
  readonly text: string
}

export interface FamilySubnet {
  /** What the backend's network is: `10.5.0.0/16`. */
  readonly network: Cidr
  /** The host's part: `10.5.72.0/24`. */
  readonly subnet: Cidr
  /** The bridge's address with the subnet's length: `10.5.72.1/24`. */
  readonly gateway: string
}

/** Throws an Error naming the key when a line is missing or not what the contract says. */
export function parseSubnetEnv(text: string): SubnetEnv {
  const values = new Map<string, string>()
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=')
    if (equals > 0) values.set(line.slice(0, equals), line.slice(equals + 1))
  }
  const read = (key: string) => {
    const value = values.get(key)
    if (value === undefined) throw new Error(`subnet.env has no ${key}:\n${text}`)
    return value
  }
  const family = (networkKey: string, subnetKey: string): FamilySubnet[] => {
    if (!values.has(subnetKey)) return []
    const gateway = read(subnetKey)
    const [network, subnet] = [parseCidr(read(networkKey)), parseCidr(gateway)]
    if (network === undefined || subnet === undefined || parseInterfaceCidr(gateway) === undefined) {
      throw new Error(`subnet.env has no good ${networkKey} and ${subnetKey}:\n${text}`)
    }
    return [{ network, subnet, gateway }]
  }
  return {
    families: [
      ...family('FLANNEL_NETWORK', 'FLANNEL_SUBNET'),
      ...family('FLANNEL_IPV6_NETWORK', 'FLANNEL_IPV6_SUBNET'),
    ],
    mtu: Number(read('FLANNEL_MTU')),
    ipMasq: read('FLANNEL_IPMASQ') === 'true',
    text,
  }
}
