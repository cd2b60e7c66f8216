import { checkFamilies } from '../../backends/families.ts'
import { type AnyBackend, backendFor } from '../../backends/registry.ts'
import { type NetworkConfig, parseNetworkConfig, type SubnetOrigin } from '../../subnet/network-config.ts'

/** A network configuration together with what its backend's own parser makes of it. */
export interface Configuration {
  readonly network: NetworkConfig
  readonly backend: AnyBackend
  /** Parsed by the backend. */
  readonly config: unknown
  readonly subnets: SubnetOrigin
  /** Where it came from, for messages: a file path or an etcd key. */
  readonly origin: string
  /** As it stands there. */
  readonly text: string
  /** Unknown keys and other things worth a line in the log. */
  readonly warnings: readonly string[]
}

/** @throws ConfigError naming path, value and what was expected */
export function parseConfiguration(text: string, origin: string, subnets: SubnetOrigin = 'leased'): Configuration {
  const network = parseNetworkConfig(text, origin, subnets)
  const backend = backendFor(network.backendType)
  const warnings = [...network.warnings]
  const config = backend.parseConfig(network.backend, warnings)
  checkFamilies(backend, network)
  backend.check?.(config, network)
  return { network, backend, config, subnets, origin, text, warnings }
}

/**
 * Tells the ways of this node from each other: what of the backend's configuration stands in the path or makes a device that does not change
 * alive. Configurations with one key differ only in what a running node takes over with the way that it has; of the enabled families, too.
 */
export function wayKey({ backend, config }: Pick<Configuration, 'backend' | 'config'>): string {
  return JSON.stringify([...lastingParts({ backend, config }), ...(isDirect({ backend, config }) ? ['direct'] : [])])
}

/** Whether hosts on one link send to each other without the tunnel. */
export function isDirect({ backend, config }: Pick<Configuration, 'backend' | 'config'>): boolean {
  return backend.isDirect?.(config) ?? false
}

/** The same for ways that have their devices, and what peers know them by, in common. */
export function deviceKey(way: Pick<Configuration, 'backend' | 'config'>): string {
  return JSON.stringify(lastingParts(way))
}

function lastingParts({ backend, config }: Pick<Configuration, 'backend' | 'config'>): readonly unknown[] {
  return [backend.type, backend.lasting === undefined ? config : backend.lasting(config)]
}

/** Whether packets to peers go by another device. */
export function movesRoutes(before: Configuration, after: Configuration): boolean {
  return wayKey(before) !== wayKey(after)
}

export type ObstacleBetween = (before: Configuration, after: Configuration) => string | undefined

/** Whether subnets of the one are subnets of the other. */
export function isSameNetwork(before: Configuration, after: Configuration): boolean {
  const parts = ({ network }: Configuration) =>
    JSON.stringify(Array.from(network.families, ([family, part]) => [family, part.network, part.subnetLen]))
  return parts(before) === parts(after)
}

export function hasSameFamilies(before: Configuration, after: Configuration): boolean {
  const families = after.network.families
  return (
    before.network.families.size === families.size && [...before.network.families.keys()].every((f) => families.has(f))
  )
}

/** Whether the one is used in place of the other at once: to peers they are the same. */
export function takesPlaceOf(after: Configuration, before: Configuration): boolean {
  if (after.backend.type !== before.backend.type || wayKey(after) === wayKey(before)) return false
  return after.backend.takesPlaceOf?.(after.config, before.config) ?? false
}

/**
 * Why a node cannot have both for a while, so that it cannot go from one to the other without a restart; undefined: it can. Each is good
 * in itself.
 */
export function obstacleBetween(before: Configuration, after: Configuration): string | undefined {
  if (wayKey(before) === wayKey(after) || takesPlaceOf(after, before)) return undefined
  const types = [before, after].map(({ backend }) => backend.type)
  if (types.includes('alloc')) return 'with alloc somebody else carries the packets, and nobody knows whether he does'
  return types[0] === types[1] ? before.backend.beside?.(before.config, after.config) : undefined
}
