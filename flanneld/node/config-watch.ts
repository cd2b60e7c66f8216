import { ConfigError } from '../../lib/errors.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import type { ConfigText } from '../../subnet/types.ts'
import type { ConditionSet } from '../status/status.ts'
import { type Configuration, differences, parseConfiguration, wayKey } from './configuration.ts'

interface ConfigWatchNeeds {
  readonly source: Source<ConfigText>
  readonly conditions: ConditionSet
  readonly log: Logger
}

type Document = Pick<ConfigText, 'origin' | 'subnets'> & { readonly text: string }

/**
 * The network configuration: waited for while there is none, fatal when the first one is bad, and later the last good one stays in
 * use. A change goes into use at once where the node keeps its way of carrying packets; any other one is named, never ignored.
 */
export class ConfigWatch {
  /** In use. */
  readonly changes = new Latest<Configuration>('configuration in use')
  readonly #needs: ConfigWatchNeeds

  constructor(needs: ConfigWatchNeeds) {
    this.#needs = needs
  }

  /** Follows the source until the signal is aborted. @throws ConfigError only for the first configuration */
  async run(signal: AbortSignal): Promise<void> {
    for await (const config of this.#needs.source.watch(signal)) this.#take(config)
  }

  #take({ text, origin, subnets }: ConfigText): void {
    const { conditions } = this.#needs
    if (text === undefined) {
      this.#missing(origin)
      return
    }
    conditions.clear('config-missing')
    const next = this.#parse({ text, origin, ...(subnets && { subnets }) })
    if (next === undefined) return
    const { current } = this.changes
    if (current === undefined) this.#begin(next)
    else this.#change(current, next)
  }

  #missing(origin: string): void {
    const isFirst = this.changes.current === undefined
    const stays = isFirst ? 'waiting for it' : 'the last one stays in use'
    this.#needs.conditions.set({
      code: 'config-missing',
      severity: isFirst ? 'error' : 'warning',
      text: `no network configuration at ${origin}, ${stays}`,
      remedy: `write one, for example {"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}, to ${origin}`,
    })
  }

  #parse({ text, origin, subnets }: Document): Configuration | undefined {
    const { conditions } = this.#needs
    try {
      const parsed = parseConfiguration(text, origin, subnets)
      conditions.clear('config-invalid')
      return parsed
    } catch (cause) {
      if (this.changes.current === undefined || !(cause instanceof ConfigError)) throw cause
      conditions.set({
        code: 'config-invalid',
        severity: 'warning',
        text: `the new network configuration is not usable, the last good one stays: ${cause.message}`,
        remedy: `correct ${cause.path} in ${origin}`,
      })
      return undefined
    }
  }

  #begin(first: Configuration): void {
    const { network, backend, origin } = first
    this.#warn(first)
    const networks = [...network.families.values()].map((part) => part.network).join(' ')
    this.#needs.log.info('network configuration read', { origin, backend: backend.type, networks })
    this.changes.set(first)
  }

  #change(before: Configuration, next: Configuration): void {
    const { conditions, log } = this.#needs
    const changes = differences(before.network, next.network)
    if (wayKey(before) === wayKey(next)) {
      conditions.clear('config-restart-needed')
      if (changes.length === 0) return
      this.#warn(next)
      log.info('network configuration changed', { origin: next.origin, changes: changes.join('; ') })
      this.changes.set(next)
      return
    }
    conditions.set({
      code: 'config-restart-needed',
      severity: 'warning',
      text: `the network configuration has changed and takes effect at the next start: ${changes.join('; ')}`,
      remedy: 'restart flanneld on every host, one after another',
    })
  }

  #warn({ warnings }: Configuration): void {
    for (const warning of warnings) this.#needs.log.warn('configuration has an unknown key', { warning })
  }
}
