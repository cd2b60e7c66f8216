import type { OwnershipScope } from '../../kernel/desired.ts'
import { addressBits, contains, familyOf, networkAddress, parseCidr, prefixLength } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'

/** What an instance may call its own in the kernel, as its files say it. */
export type Footprint = OwnershipScope
type Network = Footprint['networks'][number]

/** The oldest go first; without a limit a config that flaps for years would fill the disk. */
const MOST_NETWORKS = 100
const MOST_DEVICES = 100

export const NO_FOOTPRINT: Footprint = { devices: new Set(), networks: [] }

export function withMore(before: Footprint, more: Footprint): Footprint {
  const devices = new Set([...before.devices, ...more.devices])
  const fouPorts = new Set([...(before.fouPorts ?? []), ...(more.fouPorts ?? [])])
  const networks = [...before.networks]
  for (const each of more.networks) if (!networks.some((known) => sameNetwork(known, each))) networks.push(each)
  return footprint(
    [...devices].slice(-MOST_DEVICES),
    [...fouPorts].slice(-MOST_DEVICES),
    networks.slice(-MOST_NETWORKS),
  )
}

/** What of `all` is in `present`, too, or stays for the reason that these give. */
export function keepingOf(
  all: Footprint,
  present: Footprint,
  stays: { device: (name: string) => boolean; fouPort: (port: number) => boolean; network: (each: Network) => boolean },
): Footprint {
  return footprint(
    [...all.devices].filter((name) => present.devices.has(name) || stays.device(name)),
    [...(all.fouPorts ?? [])].filter((port) => present.fouPorts?.has(port) || stays.fouPort(port)),
    all.networks.filter((each) => present.networks.some((other) => sameNetwork(each, other)) || stays.network(each)),
  )
}

export function isSameFootprint(a: Footprint, b: Footprint): boolean {
  return footprintText(a) === footprintText(b)
}

export function overlap(a: Network['network'], b: Network['network']): boolean {
  return contains(a, networkAddress(b)) || contains(b, networkAddress(a))
}

export function footprintText({ devices, fouPorts, networks }: Footprint): string {
  const ports = fouPorts === undefined || fouPorts.size === 0 ? {} : { fouPorts: [...fouPorts] }
  return `${JSON.stringify({ version: 1, devices: [...devices], ...ports, networks })}\n`
}

/**
 * `onDropped` hears of what is no device name. Version 0.1 wrote some that are too long, and the rest of its record is true.
 *
 * @throws ConfigError or SyntaxError
 */
export function parseFootprint(text: string, onDropped: (device: unknown) => void = () => {}): Footprint {
  const fields = new JsonFields(JSON.parse(text), '')
  if (fields.integer('version', { least: 0, most: 1_000_000, fallback: 0 }) !== 1)
    throw new ConfigError('version', 'must be 1')
  const devices = listOf(fields, 'devices').flatMap((value) => {
    if (typeof value === 'string' && /^[^\s/\0]{1,15}$/.test(value)) return [value]
    onDropped(value)
    return []
  })
  const networks = listOf(fields, 'networks').map((value) => {
    const entry = new JsonFields(value, 'networks')
    const network = parseCidr(entry.string('network') ?? '')
    if (network === undefined) throw new ConfigError(entry.at('network'), 'must be a prefix')
    const least = prefixLength(network)
    const subnetLen = entry.integer('subnetLen', { least, most: addressBits(familyOf(network)), fallback: least })
    return { network, subnetLen }
  })
  const fouPorts = fields.has('fouPorts') ? listOf(fields, 'fouPorts').map(portOf) : []
  return footprint(devices, fouPorts, networks)
}

function footprint(
  devices: readonly string[],
  fouPorts: readonly number[],
  networks: Footprint['networks'],
): Footprint {
  return { devices: new Set(devices), ...(fouPorts.length === 0 ? {} : { fouPorts: new Set(fouPorts) }), networks }
}

function portOf(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 65535) return value
  throw new ConfigError('fouPorts', 'must be port numbers', value)
}

function listOf(fields: JsonFields, name: string): readonly unknown[] {
  const value = fields.raw(name)
  if (!Array.isArray(value)) throw new ConfigError(name, 'must be a list', value)
  return value
}

function sameNetwork(a: Network, b: Network): boolean {
  return a.network === b.network && a.subnetLen === b.subnetLen
}
