import type { Family, IpAddr } from '../../../lib/address.ts'
import { addElement, deleteElement, type SetElement, type SetName } from '../../netlink/set-element-messages.ts'
import { MOST_BYTES } from '../../rules/guard-kernel.ts'
import type { Op } from '../../table.ts'
import { type GuardPeer, type Path, samePath, sameSender } from './kind.ts'

/** Bytes of one element's message. */
const LARGEST = 256

const KEYS = { subnets: 'address', vteps: 'address', senders: 'device', paths: 'pair' } as const
/** Each in both families. */
export const SET_NAMES = ['subnets', 'vteps', 'senders', 'paths'] as const

/** Few, and each the same value again. */
const sets = new Map<string, SetName>()

export function setOf(name: keyof typeof KEYS, table: string, family: Family): SetName {
  const key = `${name}${family} ${table}`
  let set = sets.get(key)
  if (set === undefined) {
    set = { table, set: `${name}${family}`, keys: KEYS[name] }
    sets.set(key, set)
  }
  return set
}

/** One element that comes or goes. */
export interface Step {
  /** Of the operation that it belongs to. */
  readonly index: number
  readonly set: SetName
  readonly item: SetElement
  readonly verb: 'add' | 'delete'
  /** It may be there under whatever name. */
  readonly anyName?: true
}

/** All that one operation means. */
export interface Change {
  readonly index: number
  readonly adds: readonly Step[]
  readonly deletes: readonly Step[]
}

/** Encoded no earlier than they are sent: of thousands of messages only a few dozen live at a time. */
export function* batches(ops: readonly Op<GuardPeer>[]): Generator<readonly Change[]> {
  let batch: Change[] = []
  let bytes = 0
  for (const [index, op] of ops.entries()) {
    const change = changeOf(op, index)
    // Twice: in a second try what is in the way of an addition is deleted first.
    const size = 2 * (change.deletes.length + change.adds.length) * LARGEST
    if (size === 0) continue
    if (bytes + size > MOST_BYTES && batch.length > 0) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(change)
    bytes += size
  }
  if (batch.length > 0) yield batch
}

function changeOf(op: Op<GuardPeer>, index: number): Change {
  if (op.verb === 'remove') return { index, adds: [], deletes: stepsOf(op.object, index).map(deleteStep) }
  if (op.verb === 'create') return { index, adds: stepsOf(op.object, index), deletes: [] }
  const { object, actual } = op
  return { index, adds: stepsOf(object, index, actual), deletes: stepsOf(actual, index, object).map(deleteStep) }
}

export function deleteStep({ set, item, index }: Step): Step {
  return { index, set, item, verb: 'delete' }
}

export function messageOf({ verb, set, item }: Step): Uint8Array {
  return verb === 'add' ? addElement(set, item) : deleteElement(set, item)
}

/** Additions of the peer's elements that `without` has not. */
function stepsOf(peer: GuardPeer, index: number, without?: GuardPeer): readonly Step[] {
  const { table, family } = peer
  const comment = peer.name.startsWith('?') ? '' : peer.name
  const other = without?.family === family ? without : undefined
  const step = (name: keyof typeof KEYS, key: Omit<SetElement, 'comment'>): Step => {
    return { index, set: setOf(name, table, family), item: { ...key, comment }, verb: 'add' }
  }
  const subnets = peer.subnets.filter((subnet) => !other?.subnets.includes(subnet))
  const isHeld = (vtep: IpAddr) => other?.vteps.includes(vtep) || other?.aliases?.includes(vtep)
  const vteps = peer.vteps.filter((vtep) => !isHeld(vtep))
  const aliases = (peer.aliases ?? []).filter((vtep) => !isHeld(vtep) && !peer.vteps.includes(vtep))
  const paths = pathsOf(peer).filter((path) => !other || !pathsOf(other).some((known) => samePath(path, known)))
  const senders = peer.senders.filter((sender) => !other?.senders.some((known) => sameSender(known, sender)))
  return [
    ...subnets.map((source) => step('subnets', { source })),
    ...vteps.map((source) => step('vteps', { source })),
    ...aliases.map((source): Step => ({ ...step('vteps', { source }), anyName: true })),
    ...paths.map(({ outer, source }) => step('paths', { outer, source })),
    ...senders.map(({ device, source }) => step('senders', { device, source })),
  ]
}

/** With those of aliases: a pair belongs to one peer, whoever else has the outer address. */
function pathsOf({ paths, aliases = [] }: GuardPeer): readonly Path[] {
  if (aliases.length === 0) return paths
  const sources = [...new Set(paths.map(({ source }) => source))]
  return [...paths, ...aliases.flatMap((outer) => sources.map((source) => ({ outer, source })))]
}
