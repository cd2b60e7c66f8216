import {
  addressBits,
  type Cidr,
  contains,
  type Family,
  familyOf,
  type IpAddr,
  ipFromNumber,
  ipToNumber,
  networkAddress,
  parseCidr,
  parseIp,
  prefixLength,
} from '../lib/address.ts'
import { ConfigError, messageOf } from '../lib/errors.ts'
import { JsonFields } from '../lib/json-fields.ts'

/** One family's part of the network configuration (net-conf.json). */
export interface FamilyNetwork {
  readonly network: Cidr
  /** Prefix length of every host's subnet, in bits. */
  readonly subnetLen: number
  /** Network address of the first and the last subnet that may be leased. */
  readonly subnetMin: IpAddr
  readonly subnetMax: IpAddr
}

export interface NetworkConfig {
  /** Only the enabled families, 4 before 6. */
  readonly families: ReadonlyMap<Family, FamilyNetwork>
  readonly nftables: boolean
  /** Lower case; `udp` where the document has no Backend. */
  readonly backendType: string
  /** The `Backend` object as given, for the backend's own parser. */
  readonly backend: unknown
  /** Unknown keys and other things worth a line in the log. */
  readonly warnings: readonly string[]
}

/** Of each network the parts that were asked for: whoever compares them sees at once that nothing has changed. */
const parts = new WeakMap<NetworkConfig, Map<string, NetworkConfig>>()

/** The network with these of its families only. The same object for the same families. */
export function withFamilies(network: NetworkConfig, families: readonly Family[]): NetworkConfig {
  const kept = [...network.families].filter(([family]) => families.includes(family))
  if (kept.length === network.families.size) return network
  const known = parts.get(network) ?? new Map<string, NetworkConfig>()
  parts.set(network, known)
  const name = kept.map(([family]) => family).join()
  const part = known.get(name) ?? { ...network, families: new Map(kept) }
  known.set(name, part)
  return part
}

/** How one family's keys are called and what its defaults are (flannel, subnet/config.go). */
interface FamilyRules {
  readonly family: Family
  readonly keys: {
    readonly enable: string
    readonly network: string
    readonly len: string
    readonly min: string
    readonly max: string
  }
  readonly enabled: boolean
  readonly defaultLen: number
  readonly longestLen: number
  /** The smallest network flannel accepts. */
  readonly longestNetwork: number
}

export const familyRules: readonly FamilyRules[] = [
  {
    family: 4,
    keys: { enable: 'EnableIPv4', network: 'Network', len: 'SubnetLen', min: 'SubnetMin', max: 'SubnetMax' },
    enabled: true,
    defaultLen: 24,
    longestLen: 30,
    longestNetwork: 28,
  },
  {
    family: 6,
    keys: {
      enable: 'EnableIPv6',
      network: 'IPv6Network',
      len: 'IPv6SubnetLen',
      min: 'IPv6SubnetMin',
      max: 'IPv6SubnetMax',
    },
    enabled: false,
    defaultLen: 64,
    longestLen: 126,
    longestNetwork: 124,
  },
]

/** Where no host can have a subnet of containers, whatever is configured: the kernel routes nothing there. */
const UNROUTABLE: readonly { readonly range: Cidr; readonly what: string }[] = [
  { range: '127.0.0.0/8' as Cidr, what: "the host's own loopback addresses" },
  { range: '224.0.0.0/4' as Cidr, what: 'multicast groups' },
  { range: '::ffff:0:0/96' as Cidr, what: 'IPv4 addresses written as IPv6' },
  { range: 'fe80::/10' as Cidr, what: 'link-local addresses' },
  { range: 'ff00::/8' as Cidr, what: 'multicast groups' },
]

/** Who chooses a node's subnet: it leases one by the rules of the configuration, or is assigned one (Kubernetes' podCIDR), whatever they say. */
export type SubnetOrigin = 'leased' | 'assigned'

/**
 * Reads a network configuration. `origin` (a file path or an etcd key) stands in messages about the document as a whole.
 * @throws ConfigError naming path, value and what was expected
 */
export function parseNetworkConfig(text: string, origin: string, subnets: SubnetOrigin = 'leased'): NetworkConfig {
  const document = new JsonFields(parseJson(text, origin), '')
  const warnings: string[] = []
  const families = new Map<Family, FamilyNetwork>()
  for (const rules of familyRules) {
    const network = parseFamily(document, rules, subnets)
    if (network !== undefined) families.set(rules.family, network)
  }
  if (families.size === 0) throw new ConfigError('EnableIPv4', 'at least one of EnableIPv4 and EnableIPv6 must be true')
  const nftables = document.boolean('EnableNFTables', false)
  const { backendType, backend } = parseBackend(document, warnings)
  warnings.push(...document.unknownKeys())
  return { families, nftables, backendType, backend, warnings }
}

function parseJson(text: string, origin: string): unknown {
  if (text.startsWith('\ufeff'))
    throw new ConfigError(
      origin,
      'must not begin with a byte order mark (EF BB BF), which is no JSON: save it as UTF-8 without one',
    )
  try {
    return JSON.parse(text)
  } catch (cause) {
    // The parser's own message quotes the place; it is the value here.
    throw new ConfigError(origin, 'must be a JSON document', messageOf(cause))
  }
}

/** Undefined for a disabled family, whose keys are read (a wrong type is an error) but whose values are not checked. */
function parseFamily(document: JsonFields, rules: FamilyRules, subnets: SubnetOrigin): FamilyNetwork | undefined {
  const { family, keys } = rules
  const enabled = document.boolean(keys.enable, rules.enabled)
  const network = cidrField(document, keys.network, family)
  const len = document.integer(keys.len, { least: 0, most: enabled ? rules.longestLen : 2 ** 32 - 1, fallback: 0 })
  const min = addressField(document, keys.min, family)
  const max = addressField(document, keys.max, family)
  if (!enabled) return undefined
  if (network === undefined) {
    const alone = family === 4 && document.raw('EnableIPv6') === true ? '; for IPv6 alone add "EnableIPv4": false' : ''
    throw new ConfigError(keys.network, `must be given when ${keys.enable} is true${alone}`)
  }
  const special = UNROUTABLE.find(({ range }) => contains(range, network))
  if (special !== undefined) {
    throw new ConfigError(keys.network, `must not lie in ${special.range}: these are ${special.what}`, network)
  }
  if (subnets === 'assigned') return assignedFrom(network, rules)
  const subnetLen = checkSubnetLen(rules, network, len)
  const size = 1n << BigInt(addressBits(family) - subnetLen)
  const start = ipToNumber(networkAddress(network))
  const last = start + (1n << BigInt(addressBits(family) - prefixLength(network))) - size
  const subnetMin = checkBound(keys.min, network, size, subnetLen, min) ?? ipFromNumber(family, start + size)
  const subnetMax = checkBound(keys.max, network, size, subnetLen, max) ?? ipFromNumber(family, last)
  if (ipToNumber(subnetMin) > ipToNumber(subnetMax)) {
    throw new ConfigError(keys.min, `must not lie after ${keys.max} (${subnetMax})`, subnetMin)
  }
  return { network, subnetLen, subnetMin, subnetMax }
}

/** Any subnet inside; most have the usual length. */
function assignedFrom(network: Cidr, { family, defaultLen }: FamilyRules): FamilyNetwork {
  const subnetLen = Math.max(defaultLen, prefixLength(network))
  const start = ipToNumber(networkAddress(network))
  const size = (length: number) => 1n << BigInt(addressBits(family) - length)
  const last = start + size(prefixLength(network)) - size(subnetLen)
  return { network, subnetLen, subnetMin: networkAddress(network), subnetMax: ipFromNumber(family, last) }
}

function checkSubnetLen(rules: FamilyRules, network: Cidr, given: number): number {
  const networkLen = prefixLength(network)
  if (networkLen > rules.longestNetwork) {
    throw new ConfigError(rules.keys.network, `must be /${rules.longestNetwork} or larger`, network)
  }
  if (given === 0) return networkLen <= rules.defaultLen - 2 ? rules.defaultLen : networkLen + 2
  // At least four subnets: the first is left free, and each host needs one.
  if (given < networkLen + 2) {
    throw new ConfigError(
      rules.keys.len,
      `must be at least ${networkLen + 2}, two more than the network's length`,
      given,
    )
  }
  return given
}

function checkBound(
  key: string,
  network: Cidr,
  size: bigint,
  subnetLen: number,
  bound: IpAddr | undefined,
): IpAddr | undefined {
  if (bound === undefined) return undefined
  if (!contains(network, bound)) throw new ConfigError(key, `must lie inside ${network}`, bound)
  if (ipToNumber(bound) % size !== 0n) {
    throw new ConfigError(key, `must be the first address of a /${subnetLen} subnet`, bound)
  }
  return bound
}

/** All zeros counts as absent, as for flannel, which knows no other "absent". */
function cidrField(document: JsonFields, key: string, family: Family): Cidr | undefined {
  const text = document.string(key)
  if (text === undefined) return undefined
  const cidr = parseCidr(text)
  if (cidr === undefined || familyOf(cidr) !== family) {
    throw new ConfigError(key, `must be an IPv${family} network as in ${example[family].network}`, text)
  }
  return cidr === '0.0.0.0/0' || cidr === '::/0' ? undefined : cidr
}

function addressField(document: JsonFields, key: string, family: Family): IpAddr | undefined {
  const text = document.string(key)
  if (text === undefined) return undefined
  const address = parseIp(text)
  if (address === undefined || familyOf(address) !== family) {
    throw new ConfigError(key, `must be an IPv${family} address as in ${example[family].address}`, text)
  }
  return address === '0.0.0.0' || address === '::' ? undefined : address
}

const example = {
  4: { network: '10.5.0.0/16', address: '10.5.1.0' },
  6: { network: 'fc00::/48', address: 'fc00:0:0:1::' },
} as const

function parseBackend(document: JsonFields, warnings: string[]): { backendType: string; backend: unknown } {
  if (!document.has('Backend')) {
    warnings.push('Backend: absent, so udp is used, as flannel does (its documentation says vxlan)')
    return { backendType: 'udp', backend: { Type: 'udp' } }
  }
  // JsonFields reads null as absent; here it is a mistake that flannel refuses, too.
  const backend = document.raw('Backend') ?? null
  const type = new JsonFields(backend, 'Backend').string('Type')
  if (type === undefined || type === '')
    throw new ConfigError('Backend.Type', 'must name a backend, as in "vxlan"', type)
  return { backendType: type.toLowerCase(), backend }
}
