import { overlaps } from '../../lib/address.ts'
import { type Configuration, isSameNetwork, obstacleBetween, takesPlaceOf, wayKey } from '../node/configuration.ts'
import type { WayPlan } from '../node/ways.ts'
import type { WaysRecord } from './record.ts'
import { restingAt, retarget, toldOf } from './switch.ts'
import { keysOf, ToldByState } from './told-ways.ts'

/**
 * The ways of a node that had these, once this configuration is in use: the same object where that changes nothing. What cannot be
 * beside the ways that it has takes their place, unless they are only waited for; then it waits for them, too. A way that nobody was told
 * of is in nobody's way.
 */
export function following(before: WaysRecord | undefined, inUse: Configuration): WaysRecord {
  const key = wayKey(inUse)
  const fresh = (instead?: Configuration) => ({ ...atRest(inUse), ...(instead && { instead }) })
  if (before === undefined) return fresh()
  const { state, instead } = before
  // Of what this host has never had nothing is left.
  if (instead !== undefined && state.target !== key) return following(atRest(instead), inUse)
  if (before.configurations.get(key) === inUse && state.target === key) return before
  const configurations = inNetworkOf(inUse, before.configurations)
  const others = state.held.flatMap((way) => (way.key === key ? [] : (configurations.get(way.key) ?? [])))
  // After a restart in which the node was renumbered.
  if (others.some((other) => !isOneNetwork(other, inUse))) return fresh()
  const isHeld = others.length < state.held.length
  const told = toldConfigurations(before)
  const replaced = told.find((each) => takesPlaceOf(inUse, each))
  const isBlocked = !isHeld && (replaced ?? told.find((each) => obstacleBetween(each, inUse))) !== undefined
  if (isBlocked) {
    if (others.length < 2) return fresh(replaced)
    return configurations === before.configurations ? before : { state, configurations }
  }
  const next = retarget(state, key)
  const kept = [...configurations].filter(([other]) => next.held.some((way) => way.key === other))
  return { state: next, configurations: new Map(kept).set(key, inUse), ...(instead && { instead }) }
}

function atRest(configuration: Configuration): WaysRecord {
  const key = wayKey(configuration)
  return { state: restingAt(key), configurations: new Map([[key, configuration]]) }
}

/**
 * Why a node with these ways cannot go from the configuration in use to this one without a restart: one that nobody was told of yet
 * gives way to it.
 */
export function obstacleOnTheWay(
  record: WaysRecord | undefined,
  { inUse, next }: { readonly inUse: Configuration; readonly next: Configuration },
): string | undefined {
  const obstacle = obstacleBetween(inUse, next)
  if (record === undefined) return obstacle
  const told = toldConfigurations(record)
  if (told.some((configuration) => wayKey(configuration) === wayKey(inUse))) return obstacle
  return told.map((configuration) => obstacleBetween(configuration, next)).find((each) => each !== undefined)
}

function toldConfigurations({ state, configurations }: WaysRecord): readonly Configuration[] {
  return toldOf(state).flatMap(({ key }) => configurations.get(key) ?? [])
}

/** The others with the network of the one in use: what is a larger one for this is so for all. The same objects where nothing differs. */
function inNetworkOf(inUse: Configuration, all: WaysRecord['configurations']): WaysRecord['configurations'] {
  const { families, nftables } = inUse.network
  const isIn = (other: Configuration) => isSameNetwork(other, inUse) && other.network.nftables === nftables
  if ([...all.values()].every((other) => isIn(other) || !isOneNetwork(other, inUse))) return all
  return new Map(
    Array.from(all, ([key, other]) => {
      const isOther = !isIn(other) && isOneNetwork(other, inUse)
      return [key, isOther ? { ...other, network: { ...other.network, families, nftables } } : other]
    }),
  )
}

/** Whether one lies in the other in each family that both have, so that running containers may have addresses of both. */
function isOneNetwork(a: Configuration, b: Configuration): boolean {
  const common = [...a.network.families].flatMap(([family, { network }]) => {
    const other = b.network.families.get(family)?.network
    return other === undefined ? [] : [[network, other] as const]
  })
  return common.length > 0 && common.every(([network, other]) => overlaps(network, other))
}

/** The ways of the last run as they are on record, for one who only looks: nothing changes while he does. */
export function recordedWays(record: WaysRecord | undefined): WayPlan {
  const told = new ToldByState()
  let known = record
  return {
    wanted(inUse) {
      known = following(known, inUse)
      const { state, configurations } = known
      const [first = inUse, ...others] = state.held.flatMap(({ key }) => configurations.get(key) ?? [])
      return [first, ...others]
    },
    instead: () => known?.instead,
    told(ways) {
      const keys = keysOf(ways)
      const state = known?.state ?? restingAt(keys.get(ways[0]) ?? '')
      return told.of(state, { ways, keys, primary: state.held[0]?.key ?? '' })
    },
  }
}
