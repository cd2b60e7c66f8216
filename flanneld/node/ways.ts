import type { PrepareContext, Prepared as PreparedWay } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Advertised } from '../leases/advertised.ts'
import type { ConditionSet } from '../status/status.ts'
import { untilHad } from '../until-had.ts'
import { type Configuration, wayKey } from './configuration.ts'
import { footprintOf } from './footprint.ts'
import type { PlannerInput } from './planner-input.ts'

/** The configurations by which this node shall send and receive, the preferred one first; the same objects for the same configuration. */
export type WantedWays = (inUse: Configuration) => readonly [Configuration, ...Configuration[]]

/** Of the ways of a node: which are wanted, what it tells of them, and by which it sends. */
export interface WayPlan {
  readonly wanted: WantedWays
  /** `ways`: those that are prepared, in the order of the wanted ones. */
  told(ways: PreparedWays, network: NetworkConfig): ToldWays
}

export type PreparedWays = readonly [Way, ...Way[]]

export interface ToldWays extends Pick<PlannerInput, 'current' | 'change'> {
  readonly advertised: Advertised
}

/** It receives by all of them, and sends to each peer by the first that this accepts. */
export function fixedWays(wanted: WantedWays): WayPlan {
  return { wanted, told: (accepts) => ({ advertised: { accepts } }) }
}

interface WaysNeeds {
  readonly clock: Clock
  readonly conditions: ConditionSet
  /** Before anything is made of what is in it. @throws ConfigError when another instance uses a part of it */
  readonly claim: (footprint: OwnershipScope) => Promise<void>
  /** Filled with what keeps this host from having a way beside another one, by `wayKey`. */
  readonly refusals: Map<string, string>
  readonly context: (configuration: Configuration) => Promise<PrepareContext>
}

/**
 * Prepares the ways that are wanted. What peers know a way by (MAC, key) is made once for each and kept as long as the process runs,
 * whatever else of the configuration changes.
 */
export class Ways {
  /** Those of the wanted ones that are prepared, in their order. */
  readonly changes = new Latest<readonly [Way, ...Way[]]>('ways')
  readonly #needs: WaysNeeds
  readonly #wanted = new Latest<readonly Configuration[]>('wanted ways')
  readonly #prepared = new Map<string, PreparedWay<unknown>>()
  #ways: ReadonlyMap<Configuration, Way> = new Map()
  #claimed: string | undefined

  constructor(needs: WaysNeeds) {
    this.#needs = needs
  }

  want(wanted: readonly Configuration[]): void {
    if (!isSameList(wanted, this.#wanted.current ?? [])) this.#wanted.set(wanted)
  }

  /** Until the signal is aborted. What the host refuses is a condition and is tried again; throws what `prepare` throws else. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const _ of this.#wanted.watch(signal))
      await untilHad(this.#needs, 'backend', () => this.#prepare(), signal)
  }

  /** Which ways are wanted is asked anew with each try. */
  async #prepare(): Promise<void> {
    const wanted = this.#wanted.current ?? []
    this.#tell()
    let refusal: ConfigError | undefined
    for (const configuration of await this.#claimMissing(wanted)) {
      const key = wayKey(configuration)
      const context = await this.#needs.context(configuration)
      try {
        this.#prepared.set(key, await configuration.backend.prepare(configuration.config, context))
        this.#needs.refusals.delete(key)
      } catch (cause) {
        // What cannot be had is no reason to give up what there is, or what comes after it in the list.
        if (!(cause instanceof ConfigError)) throw cause
        this.#needs.refusals.set(key, cause.message)
        refusal ??= cause
      }
      this.#tell()
    }
    if (refusal !== undefined && this.changes.current === undefined) throw refusal
  }

  /** Claims what is wanted. Returns the missing ones that no other instance stands in the way of; the others are refused. */
  async #claimMissing(wanted: readonly Configuration[]): Promise<readonly Configuration[]> {
    const missing = wanted.filter((configuration) => !this.#prepared.has(wayKey(configuration)))
    try {
      await this.#claim(footprintOf(wanted))
      return missing
    } catch (cause) {
      if (!(cause instanceof ConfigError) || wanted.length < 2 || missing.length === 0) throw cause
    }
    const had = wanted.filter((configuration) => !missing.includes(configuration))
    const free: Configuration[] = []
    let conflict: ConfigError | undefined
    for (const configuration of missing) {
      try {
        await this.#claim(footprintOf([...had, ...free, configuration]))
        free.push(configuration)
      } catch (cause) {
        if (!(cause instanceof ConfigError)) throw cause
        this.#needs.refusals.set(wayKey(configuration), cause.message)
        conflict ??= cause
      }
    }
    if (conflict !== undefined && had.length + free.length === 0) throw conflict
    return free
  }

  /** Of one way the networks may change, too. */
  async #claim(footprint: OwnershipScope): Promise<void> {
    const { devices, fouPorts = [], networks } = footprint
    const claimed = JSON.stringify([[...devices], [...fouPorts], networks])
    if (claimed === this.#claimed) return
    await this.#needs.claim(footprint)
    this.#claimed = claimed
  }

  #tell(): void {
    const since = new Map(Array.from(this.#ways, ([configuration, way]) => [wayKey(configuration), way.since]))
    const ways = new Map<Configuration, Way>()
    for (const configuration of this.#wanted.current ?? []) {
      const key = wayKey(configuration)
      const prepared = this.#prepared.get(key)
      if (prepared === undefined) continue
      const { backend, config } = configuration
      const made = { backend, config, ...prepared, since: since.get(key) ?? this.#needs.clock.now() }
      // The same object while nothing of it changes: whoever compares them sees that at once.
      ways.set(configuration, this.#ways.get(configuration) ?? made)
    }
    this.#ways = ways
    const [first, ...others] = ways.values()
    if (first !== undefined && !isSameList([first, ...others], this.changes.current ?? []))
      this.changes.set([first, ...others])
  }
}

function isSameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index])
}
