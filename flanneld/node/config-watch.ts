import { Alarm } from '../../lib/alarm.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { Latest, type Source } from '../../lib/latest.ts'
import { runTogether } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import type { ConfigText } from '../../subnet/types.ts'
import { type LeasesInUse, objections } from '../config/admission.ts'
import { differences } from '../config/values.ts'
import type { ConditionSet } from '../status/status.ts'
import { type Configuration, type ObstacleBetween, parseConfiguration } from './configuration.ts'
import { FlipGuard } from './flip-guard.ts'

interface ConfigWatchNeeds {
  readonly source: Source<ConfigText>
  readonly conditions: ConditionSet
  readonly clock: Clock
  readonly log: Logger
  /** Why there is no going from the one to the other without a restart; undefined: there is. */
  readonly obstacleBetween: ObstacleBetween
  /** What a change could take away. */
  readonly leases: () => LeasesInUse
  /** Of the last run and this host: what to begin with where the first one fits neither; absent: with the first one. */
  readonly beginWith?: (found: Configuration) => Promise<Configuration>
}

type Document = Pick<ConfigText, 'origin' | 'subnets'> & { readonly text: string }

/**
 * The network configuration: waited for while there is none, fatal when the first one is bad, and later the last good one stays in
 * use. A change goes into use at once, with the old way of carrying packets beside the new one for a while; what cannot be beside each
 * other is named, never ignored.
 */
export class ConfigWatch {
  /** In use. */
  readonly changes = new Latest<Configuration>('configuration in use')
  readonly #needs: ConfigWatchNeeds
  readonly #flips: FlipGuard
  readonly #alarm: Alarm
  #isTold = false
  /** Not in use because of leases or of a change that is under way: tried again when the node knows something else. */
  #waits: Configuration | undefined

  constructor(needs: ConfigWatchNeeds) {
    this.#needs = needs
    this.#flips = new FlipGuard(needs)
    this.#alarm = new Alarm(needs)
  }

  /** Follows the source until the signal is aborted. @throws ConfigError only for the first configuration */
  async run(signal: AbortSignal): Promise<void> {
    const follow = async (stop: AbortSignal) => {
      for await (const config of this.#needs.source.watch(stop)) await this.#take(config)
    }
    await runTogether([follow, (stop) => this.#wait(stop)], signal)
  }

  /** Uses what waits because the configuration was changed back and forth. What differs, in words; undefined: nothing waits. */
  useWaiting(): readonly string[] | undefined {
    const { current } = this.changes
    const waited = this.#flips.overrule()
    this.#alarm.ring()
    if (current === undefined || waited === undefined) return undefined
    this.#change(current, waited)
    return differences(current, waited)
  }

  /** What is not in use though the configuration says so: it waits for a restart, for leases, or to stand still; undefined: nothing waits. */
  get waiting(): Configuration | undefined {
    return this.#waits ?? this.#flips.waiting
  }

  /** To be told of what the node knows: what is not used because of it may be used then. */
  reconsider(): void {
    const { current } = this.changes
    if (this.#waits !== undefined && current !== undefined) this.#change(current, this.#waits)
  }

  async #wait(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#alarm.stop(), { once: true })
    while (!signal.aborted) {
      await this.#alarm.until(this.#flips.dueAt ?? Number.POSITIVE_INFINITY)
      const { current } = this.changes
      const due = this.#flips.due()
      if (current !== undefined && due !== undefined) this.#change(current, due)
    }
  }

  /**
   * Takes the configuration of an earlier run into use, while the source has said nothing yet. What it says later counts as a change.
   */
  recall(recorded: Configuration): void {
    if (this.#isTold || this.changes.current !== undefined) return
    this.#flips.admits(recorded, undefined)
    this.#start(recorded)
  }

  async #take({ text, origin, subnets }: ConfigText): Promise<void> {
    const { conditions } = this.#needs
    this.#isTold = true
    this.#waits = undefined
    conditions.clear('config-refused')
    if (text === undefined) this.#missing(origin)
    else conditions.clear('config-missing')
    const next = text === undefined ? undefined : this.#parse({ text, origin, ...(subnets && { subnets }) })
    if (next === undefined) {
      this.#flips.retract()
      return
    }
    const { current } = this.changes
    const isAdmitted = this.#flips.admits(next, current)
    this.#alarm.ring()
    if (current === undefined) await this.#begin(next)
    else if (isAdmitted) this.#change(current, next)
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
        remedy: `correct ${cause.path === origin ? '' : `${cause.path} in `}${origin}`,
      })
      return undefined
    }
  }

  async #begin(found: Configuration): Promise<void> {
    const first = (await this.#needs.beginWith?.(found)) ?? found
    this.#start(first)
    if (first !== found) this.#change(first, found)
  }

  #start(first: Configuration): void {
    const { network, backend, origin } = first
    this.#warn(first, [])
    const networks = [...network.families.values()].map((part) => part.network).join(' ')
    this.#needs.log.info('network configuration read', { origin, backend: backend.type, networks })
    this.changes.set(first)
  }

  #change(before: Configuration, next: Configuration): void {
    const { conditions, log } = this.#needs
    const changes = differences(before, next)
    const [objection] = changes.length === 0 ? [] : objections(next, before, this.#needs.leases())
    this.#waits = objection && next
    if (objection !== undefined) {
      conditions.clear('config-restart-needed')
      conditions.set({
        code: 'config-refused',
        severity: 'warning',
        text: `the new network configuration is not used, the last one stays: ${objection.path}: ${objection.text} (${changes.join('; ')})`,
        remedy: objection.remedy,
      })
      return
    }
    conditions.clear('config-refused')
    const obstacle = this.#needs.obstacleBetween(before, next)
    if (obstacle === undefined) {
      conditions.clear('config-restart-needed')
      this.#warn(next, before.warnings)
      if (changes.length === 0) return
      log.info('network configuration changed', { origin: next.origin, changes: changes.join('; ') })
      this.changes.set(next)
      return
    }
    this.#waits = next
    conditions.set({
      code: 'config-restart-needed',
      severity: 'warning',
      text: `the network configuration has changed and takes effect at the next start: ${changes.join('; ')} (${obstacle})`,
      remedy: 'restart flanneld on every host, one after another',
    })
  }

  #warn({ warnings }: Configuration, known: readonly string[]): void {
    for (const warning of warnings)
      if (!known.includes(warning)) this.#needs.log.warn('configuration has an unknown key', { warning })
  }
}
