import { type Configuration, isSameNetwork, obstacleBetween, wayKey } from '../node/configuration.ts'
import type { WayPlan } from '../node/ways.ts'
import type { WaysRecord } from './record.ts'
import { restingAt, retarget } from './switch.ts'
import { keysOf, ToldByState } from './told-ways.ts'

/**
 * The ways of a node that had these, once this configuration is in use: the same object where that changes nothing. What cannot be
 * beside the ways that it has takes their place, unless they are only waited for; then it waits for them, too.
 */
export function following(
  before: WaysRecord | undefined,
  inUse: Configuration,
  { changesLive }: { readonly changesLive: boolean },
): WaysRecord {
  const key = wayKey(inUse)
  const fresh = () => ({ state: restingAt(key), configurations: new Map([[key, inUse]]) })
  if (before === undefined) return fresh()
  const { state, configurations } = before
  if (configurations.get(key) === inUse && state.target === key) return before
  const others = state.held.flatMap((way) => (way.key === key ? [] : (configurations.get(way.key) ?? [])))
  if (others.some((other) => !isSameNetwork(other, inUse)) || (others.length > 0 && !changesLive)) return fresh()
  const isHeld = others.length < state.held.length
  const isBlocked = !isHeld && others.some((other) => obstacleBetween(other, inUse) !== undefined)
  if (isBlocked) return others.length > 1 ? before : fresh()
  return { state: retarget(state, key), configurations: new Map(configurations).set(key, inUse) }
}

/** The ways of the last run as they are on record, for one who only looks: nothing changes while he does. */
export function recordedWays(record: WaysRecord | undefined, options: { readonly changesLive: boolean }): WayPlan {
  const told = new ToldByState()
  let known = record
  return {
    wanted(inUse) {
      known = following(known, inUse, options)
      const { state, configurations } = known
      const [first = inUse, ...others] = state.held.flatMap(({ key }) => configurations.get(key) ?? [])
      return [first, ...others]
    },
    told(ways, network) {
      const keys = keysOf(ways, network)
      const state = known?.state ?? restingAt(keys.get(ways[0]) ?? '')
      return told.of(state, { ways, keys, primary: state.held[0]?.key ?? '' })
    },
  }
}
