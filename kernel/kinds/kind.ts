import type { Cidr } from '../../lib/address.ts'

/** What it takes to make one object into another of the same key. */
export type Comparison = 'same' | 'update' | 'recreate'

/**
 * Whose an object in the kernel is. A fresh process judges by what it sees and by its journal alone.
 * `ours`: may be changed and removed. `adoptable`: stands at a wanted key, made by flannel or by hand; may be changed.
 * `leftover`: flannel's, not wanted; may be removed. `foreign`: never touched.
 */
export type Ownership = 'ours' | 'adoptable' | 'leftover' | 'foreign'

/** What this instance may call its own: what its configuration uses, and what its journal says of earlier ones. */
export interface OwnershipScope {
  /** Names of devices that this instance makes or has made. */
  readonly devices: ReadonlySet<string>
  /** Addresses on the loopback device, ADDRESS/LENGTH, that this instance has put there; none where nothing is said. */
  readonly addresses?: ReadonlySet<string>
  /** FOU ports that this instance opens or has opened; none where nothing is said. */
  readonly fouPorts?: ReadonlySet<number>
  /** Current and earlier networks, with the length of a host's subnet: where leftovers of flannel are looked for. */
  readonly networks: readonly { readonly network: Cidr; readonly subnetLen: number }[]
  /** What stands in the names of our chains and tables; empty or absent for the default instance. */
  readonly instance?: string
}

/** What is this instance's and bears no mark of it in the kernel: only its journal (`reconciler/journal.ts`) tells whose it is. */
export type JournalEntry =
  | { readonly kind: 'device'; readonly name: string }
  | { readonly kind: 'fou-port'; readonly port: number }
  /** On the loopback device, ADDRESS/LENGTH. */
  | { readonly kind: 'address'; readonly address: string }
  /** Where routes of ours may be, and leftovers of flannel; with the length of a host's subnet. */
  | { readonly kind: 'network'; readonly network: Cidr; readonly subnetLen: number }
  /** A setting of the host that is changed for a while; `value` is the host's own. */
  | { readonly kind: 'sysctl'; readonly path: string; readonly value: string }

/** An object of any kind. */
export interface AnyObject {
  readonly kind: string
}

/** What is wanted of all kinds, by key, and what this instance may call its own. */
export interface Wanted {
  readonly objects: ReadonlyMap<string, AnyObject>
  readonly scope: OwnershipScope
}

/**
 * All that the program knows of a kind of kernel object without touching the kernel. Pure: what plans, the reconciler and the
 * commands need. How objects are read and changed is the kind's table (`table.ts` in the same folder).
 */
export interface Kind<O extends AnyObject> {
  readonly name: O['kind']
  /** The kernel tells of each change of one. Kinds of which it tells in part, or nothing, are read again by the sweep. */
  readonly events: boolean
  /** What is ours and not wanted is removed. Values and files that others may rely on stay. */
  readonly removed: boolean
  /** Read by a program of its own, so it takes no turns of ours; its events are held back at their source. */
  readonly paced?: true
  /** It says to other programs that the node is ready: one that is required waits for all else that is. */
  readonly announces?: true
  /** Names of kinds whose objects, in the same table, are gone when one of this kind was made anew: they are read again. */
  readonly empties?: readonly string[]
  /** Names of kinds whose objects vanish without an event when one of this kind is deleted or changed by another program. */
  readonly carries?: readonly string[]
  /** Names of kinds whose objects do the same work: as long as one that is required is refused, nothing of this kind is changed or removed. */
  readonly alsoDoneBy?: readonly string[]

  /** The key does not name the device: what is in the way of a wanted object may be on any, and goes with it. */
  readonly keyedWithoutDevice?: true

  /** Begins with the kind's name. Two objects with one key exclude each other in the kernel. */
  key(object: O): string
  /** What it takes to make `actual` into `desired`; both have one key. */
  compare(actual: O, desired: O): Comparison
  /** Whose `actual` is. `wanted`: what is wanted at its key. */
  ownership(actual: O, wanted: O | undefined, all: Wanted): Ownership
  /** Key of the object that takes it along when that goes (see `carries`); undefined: of none. */
  carrier?(object: O): string | undefined
  /** The device that takes the object with it when it is deleted. Absent: objects of this kind are on no device. */
  device?(object: O): string | undefined
  /** Every device whose changes concern the object, where that is more than `device`. */
  concerns?(object: O): readonly string[]
  /** Whether it is another program's, which then uses the device that it is on. `own`: the networks of this instance. */
  showsOtherUser?(object: O, own: readonly Cidr[]): boolean
  /** Whether the mirror of the kernel holds an object that was read; absent: it holds all. */
  kept?(object: O, wanted: O | undefined, all: Wanted): boolean
  /** Written to the journal before such an object is made or taken over; absent or undefined: the kernel tells whose it is. */
  entry?(object: O): JournalEntry | undefined
  /** The kernel module that makes such an object; undefined for what every kernel has. */
  module?(object: O): string | undefined

  /** One line for logs and conditions, in the words of `ip`. */
  describe(object: O): string
  /** What `flanneld plan` prints, as lines for a shell. */
  readonly commands: {
    create(object: O): readonly string[]
    update(object: O, actual: O): readonly string[]
    /** One command, which may have several lines. */
    remove(object: O): string
  }
}

/**
 * A key of a kind with an object or more per peer. Measured in a map of 20,000: an entry takes 106 bytes with a text that was joined
 * and up to 179 with one that was put together by a template, whose parts are kept.
 */
export function joinedKey(...words: readonly (string | number)[]): string {
  return words.join(' ')
}

/** The parts that are there, with a space between them. */
export function phrase(...parts: readonly (string | false | undefined)[]): string {
  return parts.filter((part) => part).join(' ')
}
