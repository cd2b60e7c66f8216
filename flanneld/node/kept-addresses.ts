import type { LocalPlan } from '../../backends/backend.ts'
import type { Way } from '../../backends/way.ts'
import { LOOPBACK } from '../../kernel/kinds/address/kind.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { addressBits, type IpAddr, networkAddress } from '../../lib/address.ts'
import type { KeptAddresses, PlannerInput } from './planner-input.ts'

type Input = Pick<PlannerInput, 'ways' | 'change' | 'own' | 'facts' | 'kept'>

export const NONE_KEPT: KeptAddresses = { ours: new Set(), unused: new Set() }

/**
 * The own address in the overlay that the device of an old way has and the new way has not: without it the sockets of this host that
 * are bound to it would hear and say nothing any more. It stays on the loopback device until no socket has it. Pure.
 */
export function keptAddresses(input: Input, locals: ReadonlyMap<Way, LocalPlan>): readonly DesiredObject[] {
  const { ways, change, own, facts, kept = NONE_KEPT } = input
  const onLoopback = facts.loopbackAddresses
  if (onLoopback === undefined) return []
  const lasting = change?.target ?? ways[0]
  return [...own.families].flatMap(([family, { subnet }]): DesiredObject[] => {
    const address = networkAddress(subnet)
    const length = addressBits(family)
    const isOurs = kept.ours.has(`${address}/${length}`)
    // Another program has put it there, whose it stays.
    if (kept.unused.has(address) || (onLoopback.has(address) && !isOurs)) return []
    const givers = ways.filter((way) => gives(locals.get(way), address))
    const stays = lasting !== undefined && givers.includes(lasting)
    // As long as the new way is not proven to be had, its device may still lack it.
    const isNeeded = stays
      ? isOurs && change !== undefined
      : isOurs || givers.length > 0 || facts.ownAddresses.has(address)
    if (!isNeeded) return []
    const remedy = `sockets of this host that are bound to ${address} (ss -a src ${address}) have to be opened anew`
    return [{ kind: 'address', role: { class: 'advisory', remedy }, device: LOOPBACK, family, address, length }]
  })
}

/** Of the objects of a plan the addresses that are kept. */
export function keptIn(own: readonly DesiredObject[]): readonly IpAddr[] {
  return own.flatMap((object) => (object.kind === 'address' && object.device === LOOPBACK ? [object.address] : []))
}

function gives(local: LocalPlan | undefined, address: IpAddr): boolean {
  return local?.objects.some((object) => object.kind === 'address' && object.address === address) ?? false
}
