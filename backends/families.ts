import type { Family } from '../lib/address.ts'
import { ConfigError } from '../lib/errors.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import type { Notice } from './backend.ts'

/** What must be known of a backend here. */
interface Carrier {
  readonly type: string
  readonly families?: readonly Family[] | undefined
}

/** Those of the network's that the backend carries. */
export function carriedFamilies({ families }: Carrier, network: NetworkConfig): readonly Family[] {
  return [...network.families.keys()].filter((family) => families?.includes(family) ?? true)
}

const WAY_OUT = 'vxlan, host-gw and wireguard carry IPv4 and IPv6'

/** Throws ConfigError when the backend carries no family of the network. */
export function checkFamilies({ type, families }: Carrier, network: NetworkConfig): void {
  if (families === undefined || families.some((family) => network.families.has(family))) return
  const names = families.map((family) => `IPv${family}`).join(' and ')
  const expected = `carries ${names} only, which this network has not: enable it (EnableIPv4 and Network), or use another backend (${WAY_OUT})`
  throw new ConfigError('Backend.Type', expected, type)
}

/** What to say of families that are leased but not carried. */
export function familyNotices({ type, families }: Carrier, network: NetworkConfig): readonly Notice[] {
  const carried = carriedFamilies({ type, families }, network)
  const left = [...network.families.keys()].filter((family) => !carried.includes(family))
  return left.map((family) => ({
    code: `ipv${family}-not-carried`,
    text: `the backend ${type} does not carry IPv${family}: subnets are leased and stand in subnet.env, other hosts' containers are not reached by it`,
    remedy: `${WAY_OUT}; or set EnableIPv${family} to false`,
  }))
}
