import { checkFamilies } from '../../backends/families.ts'
import { type AnyBackend, backendFor } from '../../backends/registry.ts'
import { type NetworkConfig, parseNetworkConfig, type SubnetOrigin } from '../../subnet/network-config.ts'

/** A network configuration together with what its backend's own parser makes of it. */
export interface Configuration {
  readonly network: NetworkConfig
  readonly backend: AnyBackend
  /** Parsed by the backend. */
  readonly config: unknown
  /** Where it came from, for messages: a file path or an etcd key. */
  readonly origin: string
  /** Unknown keys and other things worth a line in the log. */
  readonly warnings: readonly string[]
}

/** @throws ConfigError naming path, value and what was expected */
export function parseConfiguration(text: string, origin: string, subnets?: SubnetOrigin): Configuration {
  const network = parseNetworkConfig(text, origin, subnets)
  const backend = backendFor(network.backendType)
  const warnings = [...network.warnings]
  const config = backend.parseConfig(network.backend, warnings)
  checkFamilies(backend, network)
  backend.check?.(config, network)
  return { network, backend, config, origin, warnings }
}

/**
 * Tells the ways of this node from each other: families, networks, the tool that rules are written with (for a moment packets would
 * pass without any rule), and what of the backend's configuration stands in the path or makes a device that does not change alive. Configurations with one key differ only in what a running node takes over with the way that it has.
 */
export function wayKey({ network, backend, config }: Pick<Configuration, 'network' | 'backend' | 'config'>): string {
  const families = Array.from(network.families, ([family, part]) => [family, part.network, part.subnetLen])
  return JSON.stringify([
    backend.type,
    backend.lasting === undefined ? config : backend.lasting(config),
    families,
    network.nftables,
  ])
}

/** What differs, in the words of the document. */
export function differences(before: NetworkConfig, after: NetworkConfig): readonly string[] {
  const left = flatten(before)
  const right = flatten(after)
  return [...new Set([...left.keys(), ...right.keys()])]
    .filter((key) => left.get(key) !== right.get(key))
    .map((key) => `${key} ${left.get(key) ?? 'absent'} -> ${right.get(key) ?? 'absent'}`)
}

function flatten(config: NetworkConfig): Map<string, string> {
  const rows = new Map<string, string>([
    ['EnableNFTables', String(config.nftables)],
    ['Backend.Type', config.backendType],
  ])
  for (const [family, part] of config.families) {
    const prefix = family === 4 ? '' : 'IPv6'
    rows.set(`${prefix}Network`, part.network)
    rows.set(`${prefix}SubnetLen`, String(part.subnetLen))
    rows.set(`${prefix}SubnetMin`, part.subnetMin)
    rows.set(`${prefix}SubnetMax`, part.subnetMax)
  }
  if (typeof config.backend === 'object' && config.backend !== null) {
    for (const [key, value] of Object.entries(config.backend)) {
      if (key.toLowerCase() === 'type') continue
      rows.set(`Backend.${key}`, /psk|key|password/i.test(key) ? '[redacted]' : JSON.stringify(value).slice(0, 80))
    }
  }
  return rows
}
