import { type Nexthop, nexthopId } from '../kinds/nexthop/kind.ts'
import { keyOf, ROUTE_PROTOCOL } from '../objects.ts'
import type { NexthopRecord } from './nexthop-messages.ts'

type Way = Pick<Nexthop, 'device' | 'via'>

/** Which number the kernel has for which nexthop object of ours. Filled by dumps and by what is made; it holds exceptions only. */
export class NexthopIds {
  /** By key: where another one had the number that follows from it. */
  readonly #others = new Map<string, number>()

  of(way: Way): number {
    const other = this.#others.size === 0 ? undefined : this.#others.get(keyOf({ kind: 'nexthop', ...way }))
    return other ?? nexthopId(way)
  }

  set(nexthop: Way, id: number): void {
    const key = keyOf({ kind: 'nexthop', ...nexthop })
    if (id === nexthopId(nexthop)) this.#others.delete(key)
    else this.#others.set(key, id)
  }

  clear(): void {
    this.#others.clear()
  }
}

/** The record as an object, where it is one that this program makes; `device` is the name behind its index. */
export function nexthopOf({ id, protocol, gateway }: NexthopRecord, device: string | undefined): Nexthop | undefined {
  if (protocol !== ROUTE_PROTOCOL || device === undefined || !gateway?.onLink) return undefined
  const { via } = gateway
  return { kind: 'nexthop', device, via, ...(id === nexthopId({ device, via }) ? {} : { id }) }
}
