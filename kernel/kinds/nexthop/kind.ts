import type { IpAddr } from '../../../lib/address.ts'
import { joinedKey, type Kind } from '../kind.ts'
import { ROUTE_PROTOCOL } from '../route/numbers.ts'

/**
 * A gateway beyond a device, on-link and made by this program, that routes name by its number (`ip nexthop`). Device and gateway are
 * its key: a dump tells both, so that a fresh process knows whose way it is, and plans know nothing of numbers.
 */
export interface Nexthop {
  readonly kind: 'nexthop'
  readonly device: string
  readonly via: IpAddr
  /** Where it was read with another number than the one that follows from its key (`nexthopId`). */
  readonly id?: number
}

export const nexthop: Kind<Nexthop> = {
  name: 'nexthop',
  events: true,
  removed: true,
  carries: ['route'],
  key: ({ device, via }) => joinedKey('nexthop', device, via),
  compare: () => 'same',
  ownership: ({ device }, _wanted, { scope }) => (scope.devices.has(device) ? 'ours' : 'foreign'),
  device: ({ device }) => device,
  describe: text,
  commands: {
    create: (object) => [`ip nexthop add ${text(object)}`],
    update: (object) => [`ip nexthop replace ${text(object)}`],
    remove: (object) => `ip nexthop delete id ${numberOf(object)}`,
  },
}

/** The first byte is our protocol number. FRR stays below 250,000,000, the kernel counts up from 1. */
const FIRST = 0x66000000
const COUNT = 0x1000000

/**
 * The number that a nexthop object has unless it is taken: the same after a restart, and in the commands of `flanneld plan`. Of 5,000
 * peers about one meets another's number.
 */
export function nexthopId({ device, via }: { readonly device: string; readonly via: string }): number {
  const hash = hashOf(via, hashOf(device, 0x811c9dc5))
  return FIRST + (((hash >>> 24) ^ hash) & (COUNT - 1))
}

/** Whether this program may have chosen the number. */
export function isOurNumber(id: number): boolean {
  return id >= FIRST && id < FIRST + COUNT
}

/** Another number to try where `id` is taken. */
export function numberAfter(id: number, step: number): number {
  return FIRST + ((id - FIRST + step) % COUNT)
}

// FNV-1a. Both texts end with what tells them apart from longer ones.
function hashOf(text: string, seed: number): number {
  let hash = seed
  for (let at = 0; at <= text.length; at += 1) {
    hash = Math.imul(hash ^ (at < text.length ? text.charCodeAt(at) : 0), 0x01000193)
  }
  return hash
}

function numberOf(object: Nexthop): number {
  return object.id ?? nexthopId(object)
}

function text(object: Nexthop): string {
  return `id ${numberOf(object)} via ${object.via} dev ${object.device} onlink proto ${ROUTE_PROTOCOL}`
}
