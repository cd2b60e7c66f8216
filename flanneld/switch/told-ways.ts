import type { Way } from '../../backends/way.ts'
import type { Advertised } from '../leases/advertised.ts'
import { wayKey } from '../node/configuration.ts'
import type { CurrentWays } from '../node/planner-input.ts'
import type { ToldWays } from '../node/ways.ts'
import type { Pin, SwitchState } from './switch.ts'
import type { LeasedPeer } from './switch-peers.ts'

type Ways = readonly [Way, ...Way[]]

/** By way, as the state names them. */
export function keysOf(ways: readonly Way[]): ReadonlyMap<Way, string> {
  return new Map(ways.map((way) => [way, wayKey(way)]))
}

/** Key of the way that a host of flannel shall see here: as long as one is of the old type it is that, or it would forget this node. Pure. */
export function primaryOf({ held, target }: SwitchState, peers: readonly LeasedPeer[]): string | undefined {
  const accepted = held.filter(({ isAccepted }) => isAccepted).map(({ key }) => key)
  const needed = accepted.find(
    (key) => key !== target && peers.some(({ lease, accepts }) => lease.node === '' && accepts.includes(key)),
  )
  return needed ?? (accepted.includes(target) ? target : accepted[0])
}

/** What a node in this state tells of its ways, and by which it sends. What is the same as the last time is the same object. */
export class ToldByState {
  #ways: Ways | undefined
  #current = new Map<Pin, CurrentWays>()

  /** `primary`: key of the way that a host of flannel shall see. */
  of(
    state: SwitchState,
    { ways, keys, primary }: { ways: Ways; keys: ReadonlyMap<Way, string>; primary: string },
  ): ToldWays {
    if (this.#ways !== ways) this.#current = new Map()
    this.#ways = ways
    const byKey = new Map(Array.from(keys, ([way, key]) => [key, way]))
    const target = byKey.get(state.target)
    const isTold = state.held.some(({ key, isAccepted }) => key === state.target && isAccepted)
    const isChange = state.held.length > 1
    return {
      advertised: advertisedWays(state, { ways, byKey, primary }),
      ...(isChange ? { current: this.#currentOf(state, byKey) } : {}),
      ...(isChange && target !== undefined ? { change: { target, isTold } } : {}),
    }
  }

  #currentOf({ pins }: SwitchState, byKey: ReadonlyMap<string, Way>): ReadonlyMap<string, CurrentWays> {
    const current = new Map<Pin, CurrentWays>()
    const found = Array.from(pins, ([id, pin]) => {
      const known = this.#current.get(pin) ?? currentWays(pin, byKey)
      current.set(pin, known)
      return [id, known] as const
    })
    this.#current = current
    return new Map(found)
  }
}

function currentWays({ node, ways }: Pin, byKey: ReadonlyMap<string, Way>): CurrentWays {
  return { node, ways: new Map(Array.from(ways, ([family, key]) => [family, byKey.get(key)])) }
}

function advertisedWays(
  { held }: SwitchState,
  { ways, byKey, primary }: { ways: Ways; byKey: ReadonlyMap<string, Way>; primary: string },
): Advertised {
  const waysWhere = (is: (way: SwitchState['held'][number]) => boolean) =>
    held.flatMap((way) => (is(way) ? (byKey.get(way.key) ?? []) : []))
  const accepted = waysWhere(({ isAccepted }) => isAccepted)
  const sent = waysWhere(({ isSent }) => isSent)
  const first = byKey.get(primary)
  const ordered = accepted.filter((way) => way === first).concat(accepted.filter((way) => way !== first))
  const [one = ways[0], ...others] = ordered
  const isPlain = others.length === 0 && sent.every((way) => way === one)
  return { accepts: [one, ...others], ...(isPlain ? {} : { sends: sent }) }
}
