import { type Cidr, FAMILIES, type Family, parseCidr } from '../../lib/address.ts'
import { fingerprint } from '../../lib/fingerprint.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'

/** flannel's name for the network of its `cni-conf.json`. host-local keeps its addresses under it. */
export const DEFAULT_NETWORK = 'cbr0'

/** Where a network of this daemon is described, and what it is called. */
export interface CniNetwork {
  /** The conflist. */
  readonly confFile: string
  readonly name: string
}

/** Of the host's end of the containers; the plugin's own default for flannel's network. At most 15 characters, as the kernel wants it. */
export function bridgeOf(network: string): string {
  return network === DEFAULT_NETWORK ? 'cni0' : `cni-${fingerprint(network).slice(0, 8)}`
}

/**
 * The conflist of this node: what flannel's meta-plugin hands to `bridge` for the same lease and the `cni-conf.json` of its manifest, with
 * the same `portmap` behind it. Names, prefixes and numbers only. CNI spec 0.3.1, which every runtime and plugin in use speaks.
 */
export function renderConflist(
  name: string,
  facts: { readonly network: NetworkConfig; readonly own: Lease; readonly mtu: number; readonly ipMasq: boolean },
): string {
  const { network, own, mtu, ipMasq } = facts
  const families = FAMILIES.flatMap((family) => {
    const rules = network.families.get(family)
    const part = own.families.get(family)
    return rules === undefined || part === undefined ? [] : [{ dst: rules.network, subnet: part.subnet }]
  })
  const bridge = bridgeOf(name)
  const conflist = {
    cniVersion: '0.3.1',
    name,
    plugins: [
      {
        type: 'bridge',
        ...(name === DEFAULT_NETWORK ? {} : { bridge }),
        mtu,
        isGateway: true,
        isDefaultGateway: true,
        hairpinMode: true,
        // One of the two masquerades what leaves the overlay: the daemon by its rules, or the plugin by one for each container.
        ipMasq: !ipMasq,
        ipam: {
          type: 'host-local',
          ranges: families.map(({ subnet }) => [{ subnet }]),
          routes: families.map(({ dst }) => ({ dst })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  }
  return `${JSON.stringify(conflist, undefined, 2)}\n`
}

/** What `bridge` alone is told by a conflist of `renderConflist`: as a runtime hands it over, and as flannel's meta-plugin keeps it. */
export function delegateOf(conflist: string): string {
  const { cniVersion, name, plugins } = JSON.parse(conflist)
  return JSON.stringify({ cniVersion, name, ...plugins[0] })
}

/** What anybody's configuration file says, as far as it concerns this node. */
export interface FoundConfig {
  readonly network: string
  /** Types of its plugins, in order. */
  readonly plugins: readonly string[]
  /** That its plugins hand out addresses of. */
  readonly subnets: ReadonlyMap<Family, readonly Cidr[]>
}

/** Undefined: no network configuration. Never throws. */
export function parseConfig(text: string): FoundConfig | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  const network = field(value, 'name')
  const list = field(value, 'plugins')
  const plugins = Array.isArray(list) ? list : [value]
  const types = plugins.map((plugin) => field(plugin, 'type'))
  if (typeof network !== 'string' || types.length === 0 || !types.every((type) => typeof type === 'string'))
    return undefined
  const subnets = plugins.flatMap((plugin) => subnetsOf(field(plugin, 'ipam')))
  const byFamily = FAMILIES.map((family) => [family, subnets.filter((cidr) => cidr.includes(':') === (family === 6))])
  return { network, plugins: types, subnets: new Map(byFamily as [Family, Cidr[]][]) }
}

/** Whether it has the form of `renderConflist`, of whatever lease and with whatever plugins of others behind its own. */
export function isOwnForm(config: FoundConfig | undefined, network: string): boolean {
  return config?.network === network && config.plugins.slice(0, 2).join(' ') === 'bridge portmap'
}

/** host-local takes one `subnet`, or `ranges` of them. */
function subnetsOf(ipam: unknown): readonly Cidr[] {
  const ranges = field(ipam, 'ranges')
  const sets = Array.isArray(ranges) ? ranges.flat() : []
  return [ipam, ...sets].flatMap((range) => {
    const subnet = field(range, 'subnet')
    const cidr = typeof subnet === 'string' ? parseCidr(subnet) : undefined
    return cidr === undefined ? [] : [cidr]
  })
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined
}
