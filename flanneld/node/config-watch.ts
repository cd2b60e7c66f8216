import { checkFamilies } from '../../backends/families.ts'
import { backendFor } from '../../backends/registry.ts'
import { ConfigError } from '../../lib/errors.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import { type NetworkConfig, parseNetworkConfig } from '../../subnet/network-config.ts'
import type { ConfigText } from '../../subnet/types.ts'
import type { ConditionSet } from '../status/status.ts'

/** A configuration together with what its backend's own parser makes of it, so that both are checked at once. */
export interface CheckedConfig {
  readonly network: NetworkConfig
  readonly origin: string
}

/**
 * The network configuration: waited for while there is none, fatal when the first one is bad, and later the last good
 * one stays. A change that cannot be applied to the running daemon is named, never ignored.
 */
export class ConfigWatch {
  readonly #source: Source<ConfigText>
  readonly #conditions: ConditionSet
  readonly #check: (network: NetworkConfig) => void
  #inUse: { text: string; network: NetworkConfig } | undefined
  readonly #first = new Latest<CheckedConfig>('first configuration')

  /** `check` throws ConfigError for what only a backend can judge. */
  constructor(needs: {
    source: Source<ConfigText>
    conditions: ConditionSet
    check: (network: NetworkConfig) => void
  }) {
    this.#source = needs.source
    this.#conditions = needs.conditions
    this.#check = needs.check
  }

  /** Follows the source until the signal is aborted; throws ConfigError only for the first configuration. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const config of this.#source.watch(signal)) this.#take(config)
  }

  async first(signal: AbortSignal): Promise<CheckedConfig> {
    for await (const config of this.#first.watch(signal)) return config
    throw signal.reason
  }

  #take(config: ConfigText): void {
    if (config.text === undefined) {
      this.#missing(config)
      return
    }
    this.#conditions.clear('config-missing')
    if (config.text === this.#inUse?.text) {
      this.#conditions.clear('config-invalid')
      this.#conditions.clear('config-restart-needed')
      return
    }
    const network = this.#parse(config.text, config.origin)
    if (network === undefined) return
    if (this.#inUse === undefined) this.#begin(config.text, network, config.origin)
    else this.#changed(this.#inUse.network, network)
  }

  #missing(config: ConfigText): void {
    const stays = this.#inUse === undefined ? 'waiting for it' : 'the last one stays in use'
    this.#conditions.set({
      code: 'config-missing',
      severity: this.#inUse === undefined ? 'error' : 'warning',
      text: `no network configuration at ${config.origin}, ${stays}`,
      remedy: `write one, for example {"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}, to ${config.origin}`,
    })
  }

  #parse(text: string, origin: string): NetworkConfig | undefined {
    try {
      const network = parseNetworkConfig(text, origin)
      this.#check(network)
      this.#conditions.clear('config-invalid')
      return network
    } catch (cause) {
      if (this.#inUse === undefined || !(cause instanceof ConfigError)) throw cause
      this.#conditions.set({
        code: 'config-invalid',
        severity: 'warning',
        text: `the new network configuration is not usable, the last good one stays: ${cause.message}`,
        remedy: `correct ${cause.path} in ${origin}`,
      })
      return undefined
    }
  }

  #begin(text: string, network: NetworkConfig, origin: string): void {
    this.#inUse = { text, network }
    this.#first.set({ network, origin })
  }

  #changed(before: NetworkConfig, after: NetworkConfig): void {
    const changes = differences(before, after)
    if (changes.length === 0) {
      this.#conditions.clear('config-restart-needed')
      return
    }
    this.#conditions.set({
      code: 'config-restart-needed',
      severity: 'warning',
      text: `the network configuration has changed and takes effect at the next start: ${changes.join('; ')}`,
      remedy: 'restart flanneld on every host, one after another',
    })
  }
}

/** Refuses, with ConfigError, what only the backend's own parser can judge. */
export function checkBackend(network: NetworkConfig): void {
  const backend = backendFor(network.backendType)
  const config = backend.parseConfig(network.backend, [])
  checkFamilies(backend, network)
  backend.check?.(config, network)
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
