import { splitDockerOptions } from '../../kernel/kinds/file/docker-options.ts'
import {
  addressBits,
  type Cidr,
  cidrOf,
  contains,
  FAMILIES,
  type Family,
  familyOf,
  firstHost,
  parseCidr,
  parseInterfaceCidr,
  prefixLength,
} from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'

/** What subnet.env says (compatibility contract §5). */
export interface SubnetFile {
  readonly networks: ReadonlyMap<Family, Cidr>
  readonly subnets: ReadonlyMap<Family, Cidr>
  /** Bytes. */
  readonly mtu: number
  readonly ipMasq: boolean
}

const INFIX: Readonly<Record<Family, string>> = { 4: '', 6: 'IPV6_' }
const KNOWN = new Set([
  ...FAMILIES.flatMap((family) => [`FLANNEL_${INFIX[family]}NETWORK`, `FLANNEL_${INFIX[family]}SUBNET`]),
  'FLANNEL_MTU',
  'FLANNEL_IPMASQ',
])
const MOST_CHARACTERS = 4096

/** The file for the own lease: addresses, numbers and words only, so a shell that reads it does nothing else. */
export function renderSubnetFile(facts: {
  readonly network: NetworkConfig
  readonly own: Lease
  readonly mtu: number
  readonly ipMasq: boolean
}): string {
  const { network, own, mtu, ipMasq } = facts
  const networks = new Map([...network.families].map(([family, { network }]) => [family, network]))
  const subnets = new Map([...own.families].map(([family, { subnet }]) => [family, subnet]))
  return formatSubnetFile({ networks, subnets, mtu, ipMasq })
}

export function formatSubnetFile(file: SubnetFile): string {
  const lines: string[] = []
  for (const family of FAMILIES) {
    const network = file.networks.get(family)
    const subnet = file.subnets.get(family)
    if (network === undefined || subnet === undefined) continue
    lines.push(
      `FLANNEL_${INFIX[family]}NETWORK=${network}`,
      `FLANNEL_${INFIX[family]}SUBNET=${firstHost(subnet)}/${prefixLength(subnet)}`,
    )
  }
  lines.push(`FLANNEL_MTU=${file.mtu}`, `FLANNEL_IPMASQ=${file.ipMasq}`)
  return `${lines.join('\n')}\n`
}

/**
 * The file of an earlier run, ours or flannel's, perhaps with Docker's options in it. Only a hint, and anybody may have
 * edited it: one line out of place and nothing of it is believed. Never throws.
 */
export function parseSubnetFile(
  text: string,
): { readonly ok: true; readonly file: SubnetFile } | { readonly ok: false; readonly reason: string } {
  const { rest } = splitDockerOptions(text)
  if (rest.length > MOST_CHARACTERS) return distrust('the file is too long')
  const values = new Map<string, string>()
  for (const [index, line] of rest.replace(/\n$/, '').split('\n').entries()) {
    const [, key = '', value = ''] = /^([A-Z0-9_]+)=(\S+)$/.exec(line) ?? []
    if (!KNOWN.has(key) || values.has(key)) return distrust(`line ${index + 1} is none of a subnet file`)
    values.set(key, value)
  }
  const networks = new Map<Family, Cidr>()
  const subnets = new Map<Family, Cidr>()
  for (const family of FAMILIES) {
    const network = values.get(`FLANNEL_${INFIX[family]}NETWORK`)
    const subnet = values.get(`FLANNEL_${INFIX[family]}SUBNET`)
    if (network === undefined && subnet === undefined) continue
    if (network === undefined || subnet === undefined) return distrust('a network or a subnet is missing')
    const outer = readNetwork(network, family)
    const inner = readSubnet(subnet, family)
    if (outer === undefined || inner === undefined) return distrust(`the IPv${family} network or subnet is no prefix`)
    if (!contains(outer, inner)) return distrust('the subnet lies outside the network')
    networks.set(family, outer)
    subnets.set(family, inner)
  }
  const mtu = /^[1-9]\d{1,4}$/.test(values.get('FLANNEL_MTU') ?? '') ? Number(values.get('FLANNEL_MTU')) : 0
  const ipMasq = values.get('FLANNEL_IPMASQ') ?? ''
  if (subnets.size === 0 || mtu === 0 || mtu > 65_535) return distrust('the subnet or the MTU is missing or wrong')
  if (!/^(true|false)$/.test(ipMasq)) return distrust('FLANNEL_IPMASQ is missing or wrong')
  return { ok: true, file: { networks, subnets, mtu, ipMasq: ipMasq === 'true' } }
}

function distrust(reason: string) {
  return { ok: false, reason } as const
}

function readNetwork(text: string, family: Family): Cidr | undefined {
  const cidr = parseCidr(text)
  return cidr === text && familyOf(cidr) === family ? cidr : undefined
}

// The first host address with the subnet's length: the gateway of the containers.
function readSubnet(text: string, family: Family): Cidr | undefined {
  const parsed = parseInterfaceCidr(text)
  if (parsed === undefined || familyOf(parsed.address) !== family || parsed.length >= addressBits(family))
    return undefined
  const subnet = cidrOf(parsed.address, parsed.length)
  return text === `${firstHost(subnet)}/${parsed.length}` ? subnet : undefined
}
