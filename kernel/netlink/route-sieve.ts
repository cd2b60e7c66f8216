import type { Cidr } from '../../lib/address.ts'
import { align4, LITTLE } from './attributes.ts'
import type { Message } from './message.ts'
import { prefixBytes, sameBits } from './prefix-bytes.ts'

/** Lets a message about a route through, or not. */
export type RouteSieve = (message: Message) => boolean

export const EVERY_ROUTE: RouteSieve = () => true

const RTMSG_BYTES = 12
const RTA_DST = 1

/**
 * Lets through the routes of one protocol, and those to addresses inside one of the prefixes. It looks at the bytes alone,
 * so that a table of a million other routes is passed over without making a string.
 */
export function routeSieve(protocol: number, prefixes: Iterable<Cidr>): RouteSieve {
  const ranges = Array.from(new Set(prefixes), prefixBytes)
  return (message) => {
    const { view, start, end } = message
    if (end - start < RTMSG_BYTES) return true
    // struct rtmsg: family, destination length, source length, type of service, table, protocol
    if (view.getUint8(start + 5) === protocol) return true
    const family = view.getUint8(start)
    const length = view.getUint8(start + 1)
    if (!ranges.some((range) => range.family === family && range.length <= length)) return false
    const address = destinationOf(message)
    return ranges.some(
      (range) =>
        range.family === family && range.length <= length && sameBits(view, address, range.bytes, range.length),
    )
  }
}

/** Where the destination's bytes begin; undefined: it is all zeros, which the kernel leaves out. */
function destinationOf({ view, start, end }: Message): number | undefined {
  for (let at = start + RTMSG_BYTES; at + 4 <= end; ) {
    const length = view.getUint16(at, LITTLE)
    if (view.getUint16(at + 2, LITTLE) === RTA_DST) return at + length <= end ? at + 4 : undefined
    at += align4(Math.max(4, length))
  }
  return undefined
}
