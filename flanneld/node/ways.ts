import { isDeepStrictEqual } from 'node:util'
import type { PrepareContext, Prepared as PreparedWay } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Family } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import { withFamilies } from '../../subnet/network-config.ts'
import type { Advertised } from '../leases/advertised.ts'
import type { ConditionSet } from '../status/status.ts'
import { untilHad } from '../until-had.ts'
import { type Configuration, deviceKey, isDirect, wayKey } from './configuration.ts'
import { DeviceChoice, type Standing } from './device-choice.ts'
import { footprintOf } from './footprint.ts'
import type { PlannerInput } from './planner-input.ts'
import { NOTHING, type Wanted } from './wanted.ts'
import { lackingConditions, stuckCondition } from './way-conditions.ts'

/** The configurations by which this node shall send and receive, the preferred one first; the same objects for the same configuration. */
export type WantedWays = (inUse: Configuration) => readonly [Configuration, ...Configuration[]]

/** Of the ways of a node: which are wanted, what it tells of them, and by which it sends. */
export interface WayPlan {
  readonly wanted: WantedWays
  /** What a start has that cannot have the only one that is wanted; absent: nothing. */
  instead?(): Configuration | undefined
  /** `ways`: those that are prepared, in the order of the wanted ones. */
  told(ways: PreparedWays): ToldWays
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
  readonly context: (configuration: Configuration) => Promise<Omit<PrepareContext, 'devices'>>
  readonly standing: () => Standing
  /** Configurations of ways that are not wanted here, and whose devices stand beside the others'. */
  readonly beside?: (() => readonly Configuration[]) | undefined
}

/**
 * Prepares the ways that are wanted. What peers know a way by (MAC, key) is made once for each, and in each
 * family, and kept as long as the process runs, whatever else of the configuration changes.
 */
export class Ways {
  /** Those of the wanted ones that are prepared, in their order. */
  readonly changes = new Latest<readonly [Way, ...Way[]]>('ways')
  readonly #needs: WaysNeeds
  readonly #wanted = new Latest<Wanted>('wanted ways')
  /** By `deviceKey`; of earlier ways, too, which would be known by the same again. */
  readonly #prepared = new Map<string, PreparedWay<unknown> & { readonly families: readonly Family[] }>()
  /** Of these the ones that are claimed and in use. What was given up may be another instance's by now. */
  readonly #had = new Set<string>()
  readonly #devices = new DeviceChoice()
  #ways: ReadonlyMap<Configuration, Way> = new Map()
  #claimed: string | undefined
  /** Some way could not be had in a family that is wanted, or the only one not at all. */
  #lacks = false

  constructor(needs: WaysNeeds) {
    this.#needs = needs
  }

  want(wanted: Wanted): void {
    const { current } = this.#wanted
    const isSame =
      current !== undefined &&
      isSameList(wanted.ways, current.ways) &&
      isSameList(wanted.families, current.families) &&
      isSameList(wanted.enough, current.enough) &&
      // What kept a family from being had may be gone with it.
      (!this.#lacks || wanted.host === current.host)
    if (!isSame) this.#wanted.set(wanted)
  }

  /** Until the signal is aborted. What the host refuses is a condition and is tried again; throws what `prepare` throws else. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const wanted of this.#wanted.watch(signal)) {
      await untilHad(this.#needs, 'backend', () => this.#prepare(), signal)
      if (this.#lacks) this.#againAfter(wanted, signal)
    }
  }

  /** Unless something else is wanted until then. */
  #againAfter(wanted: Wanted, signal: AbortSignal): void {
    const again = () => {
      if (this.#wanted.current === wanted) this.#wanted.set({ ...wanted })
    }
    this.#needs.clock.sleep(AGAIN_MS, signal).then(again, () => {})
  }

  /** Which ways are wanted is asked anew with each try. */
  async #prepare(): Promise<void> {
    const wanted = this.#wanted.current ?? NOTHING
    const keys = wanted.ways.map(deviceKey)
    for (const key of this.#had) if (!keys.includes(key)) this.#had.delete(key)
    this.#devices.choose([...(this.#needs.beside?.() ?? []), ...wanted.ways], this.#needs.standing())
    this.#tell()
    let refusal: ConfigError | undefined
    const lacking: string[] = []
    const { ways, families } = await this.#unprepared(wanted, lacking)
    for (const configuration of ways) {
      const key = wayKey(configuration)
      try {
        const less = await this.#make(configuration, families, wanted.enough)
        if (less !== undefined) lacking.push(less.message)
        this.#needs.refusals.delete(key)
      } catch (cause) {
        // What cannot be had is no reason to give up what comes after it in the list.
        if (!(cause instanceof ConfigError)) throw cause
        this.#needs.refusals.set(key, cause.message)
        refusal ??= cause
      }
      this.#tell()
    }
    const isStuck = refusal !== undefined && !wanted.ways.some((each) => this.#inUse(each))
    this.#lacks = lacking.length > 0 || isStuck
    if (isStuck && this.changes.current === undefined) await this.#haveInstead(wanted)
    const { current } = this.changes
    this.#needs.conditions.replace('backend in use', isStuck && current ? [stuckCondition(current[0], refusal)] : [])
    this.#needs.conditions.replace('families of the backend', lackingConditions(lacking))
    if (refusal !== undefined && current === undefined) throw refusal
  }

  /** Nothing where this cannot be had either. */
  async #haveInstead({ instead, families, enough }: Wanted): Promise<void> {
    if (instead === undefined) return
    const [beside, standing] = [this.#needs.beside?.() ?? [], this.#needs.standing()]
    // The names of what cannot be had are free: nothing of it was made.
    this.#devices.choose(beside, standing)
    this.#devices.choose([...beside, instead], standing)
    try {
      await this.#claim(footprintOf([instead]))
      await this.#make(instead, families, enough)
    } catch (cause) {
      if (!(cause instanceof ConfigError)) throw cause
      return
    }
    this.#tell([instead])
  }

  /**
   * In these families; where these cannot be had, in those that it has already, or else in those of the last run. Why it has not all of
   * them; undefined: it has. @throws ConfigError where it has none
   */
  async #make(
    configuration: Configuration,
    families: readonly Family[],
    enough: readonly Family[],
  ): Promise<ConfigError | undefined> {
    const key = deviceKey(configuration)
    const make = async (families: readonly Family[]) => {
      const made = this.#prepared.get(key)
      const isBack = !this.#had.has(key) && made !== undefined && isSameList(made.families, families)
      if (isBack) {
        this.#had.add(key)
        return
      }
      const context = await this.#needs.context({
        ...configuration,
        network: withFamilies(configuration.network, families),
      })
      const devices = this.#devices.needed(configuration, families)
      const needs = { ...context, devices, ...(made && { made: made.path }) }
      const prepared = await configuration.backend.prepare(configuration.config, needs)
      this.#prepared.set(key, { ...prepared, families })
      this.#had.add(key)
    }
    try {
      await make(families)
      return undefined
    } catch (cause) {
      if (!(cause instanceof ConfigError)) throw cause
      if (this.#had.has(key)) return cause
      if (!isLess(enough, families)) throw cause
      await make(enough)
      return cause
    }
  }

  /** What of them is to be prepared, and in which families; `lacking` is told of a family that another instance stands in the way of. */
  async #unprepared({ ways, families, enough }: Wanted, lacking: string[]): Promise<Pick<Wanted, 'ways' | 'families'>> {
    try {
      return { ways: await this.#claimMissing(ways, families), families }
    } catch (cause) {
      if (!(cause instanceof ConfigError)) throw cause
      const hasAll = ways.every((each) => this.#inUse(each) !== undefined)
      if (!hasAll && !isLess(enough, families)) throw cause
      const had = ways.map((each) => ({ ...each, network: withFamilies(each.network, enough) }))
      if (!hasAll) await this.#claim(footprintOf(had))
      lacking.push(cause.message)
      return { ways: hasAll ? [] : ways, families: enough }
    }
  }

  /** Claims what is wanted. Returns the missing ones that no other instance stands in the way of; the others are refused. */
  async #claimMissing(
    wanted: readonly Configuration[],
    families: readonly Family[],
  ): Promise<readonly Configuration[]> {
    const missing = wanted.filter((configuration) => {
      const prepared = this.#inUse(configuration)
      return prepared === undefined || !families.every((family) => prepared.families.includes(family))
    })
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
        if (this.#inUse(configuration) === undefined) this.#needs.refusals.set(wayKey(configuration), cause.message)
        conflict ??= cause
      }
    }
    if (conflict !== undefined && had.length + free.length === 0) throw conflict
    return free
  }

  #inUse(configuration: Configuration) {
    const key = deviceKey(configuration)
    return this.#had.has(key) ? this.#prepared.get(key) : undefined
  }

  /** Of one way the networks may change, too. */
  async #claim(footprint: OwnershipScope): Promise<void> {
    const { devices, fouPorts = [], networks } = footprint
    const claimed = JSON.stringify([[...devices], [...fouPorts], networks])
    if (claimed === this.#claimed) return
    await this.#needs.claim(footprint)
    this.#claimed = claimed
  }

  #tell(told = this.#wanted.current?.ways ?? []): void {
    const ways = new Map<Configuration, Way>()
    const { families: here } = this.#wanted.current ?? NOTHING
    for (const configuration of told) {
      const prepared = this.#inUse(configuration)
      const families = here.filter((family) => prepared?.families.includes(family))
      const devices = this.#devices.of(configuration, families)
      if (prepared === undefined || devices === undefined) continue
      const { backend, config } = configuration
      const port = backend.ownPort?.(config)
      const said = {
        ...(port === undefined ? {} : { port }),
        ...(isDirect(configuration) && { direct: true as const }),
      }
      const data = new Map([...prepared.path.data].filter(([family]) => families.includes(family)))
      const path = { ...prepared.path, data, ...said }
      const made = { backend, config, ...prepared, path, devices, families }
      const known = this.#ways.get(configuration)
      const isSame = known && isSameList(known.families, families) && isDeepStrictEqual(known.devices, devices)
      // The same object while nothing of it changes: whoever compares them sees that at once.
      ways.set(configuration, isSame ? known : made)
    }
    this.#ways = ways
    const [first, ...others] = ways.values()
    if (first !== undefined && !isSameList([first, ...others], this.changes.current ?? []))
      this.changes.set([first, ...others])
  }
}

/** Between two tries to have a family that could not be had. */
const AGAIN_MS = 30_000

function isLess(some: readonly Family[], all: readonly Family[]): boolean {
  return some.length > 0 && some.length < all.length && some.every((family) => all.includes(family))
}

function isSameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index])
}
