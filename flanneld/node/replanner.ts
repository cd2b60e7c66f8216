import type { Plan } from '../../backends/backend.ts'
import { type Change, changesBetween } from '../../lib/persistent-map.ts'
import type { Lease } from '../../subnet/types.ts'
import { sameTraits } from './peer-traits.ts'
import { type NodePlan, type PlannerInput, planNode, planPeers } from './planner.ts'

/**
 * Plans as `planNode` does. Where nothing but some peers differs from the last time, or how they are reached, only these are planned: of
 * a plan, what belongs to a peer depends on that peer and its reach alone, unless two of them want one object, and the rest on what
 * few traits the peers have together.
 */
export class Replanner {
  #last: { readonly input: PlannerInput; readonly plan: NodePlan } | undefined

  plan(input: PlannerInput): NodePlan {
    const last = this.#last
    const changed = last && isSameBasis(last.input, input) ? planChanged(last, input) : undefined
    const plan = changed ?? planNode(input)
    this.#last = { input, plan }
    return plan
  }
}

/** Undefined: more than single peers depends on what has changed, or peers want one object, so that their ages decide. */
function planChanged(last: { input: PlannerInput; plan: NodePlan }, input: PlannerInput): NodePlan | undefined {
  const changes = changedPeers(last.input, input)
  if (changes === undefined) return undefined
  const [before, after] = [leasesOf(changes, 'before'), leasesOf(changes, 'after')]
  const { peers, network } = input
  if (!sameTraits(last.plan.traits, network, peers.values(), { gone: before, come: after })) return undefined
  const gone = before.length === 0 ? [] : peerObjects(planPeers(last.input, before))
  const come = planPeers(input, after)
  const { desired, skipped, paths } = last.plan
  if ([...skipped, ...come.skipped].some(({ reason }) => reason === 'duplicate')) return undefined
  const goneKeys = new Set(gone.map(([key]) => key))
  const comeObjects = peerObjects(come)
  if (comeObjects.some(([key]) => desired.objects.has(key) && !goneKeys.has(key))) return undefined
  const changedIds = new Set(changes.map(({ key }) => key))
  return {
    ...last.plan,
    desired: { ...desired, objects: desired.objects.patched(goneKeys, comeObjects) },
    skipped: [...skipped.filter(({ id }) => !changedIds.has(id)), ...come.skipped],
    paths: paths.patched(changedIds, come.paths),
  }
}

/** Peers that say something else than before, or are reached in another way. Undefined: the node itself is concerned as well. */
function changedPeers(last: PlannerInput, input: PlannerInput): readonly Change<Lease>[] | undefined {
  const changes = changesBetween(last.peers, input.peers)
  const reached = changesBetween(last.facts.reach, input.facts.reach)
  // Where peers are on a link beside the external interface's, that link is the node's business.
  const others = reached.flatMap(({ before, after }) => [before?.onLink, after?.onLink])
  if (others.some((link) => link !== undefined && link !== input.facts.external.name)) return undefined
  // Of peers that have not changed: no two of them share an address.
  const addresses = new Set(reached.map(({ key }) => key))
  for (const { before, after } of changes) {
    for (const lease of [before, after]) for (const address of addressesOf(lease)) addresses.delete(address)
  }
  if (addresses.size === 0) return changes
  const changed = new Set(changes.map(({ key }) => key))
  const moved: Change<Lease>[] = []
  for (const [key, lease] of input.peers) {
    if (changed.has(key) || !addressesOf(lease).some((address) => addresses.has(address))) continue
    moved.push({ key, before: lease, after: lease })
  }
  return [...changes, ...moved]
}

function addressesOf(lease: Lease | undefined): readonly string[] {
  return lease === undefined ? [] : Array.from(lease.families.values(), ({ publicIp }) => publicIp)
}

function leasesOf(changes: readonly Change<Lease>[], which: 'before' | 'after'): readonly Lease[] {
  return changes.flatMap((change) => change[which] ?? [])
}

function peerObjects({ objects }: Plan) {
  return [...objects].filter(([, { role }]) => role.class === 'peer')
}

/** Whether everything but the peers, and how they are reached, is the same. */
function isSameBasis(a: PlannerInput, b: PlannerInput): boolean {
  const [left, right] = [
    { ...a.facts, reach: undefined },
    { ...b.facts, reach: undefined },
  ]
  if (!sameFields(left, right) || !sameFields(a.scope, b.scope) || !sameFields(a.options, b.options)) return false
  return sameFields({ ...a, ...CLEARED }, { ...b, ...CLEARED })
}

const CLEARED = { peers: undefined, facts: undefined, scope: undefined, options: undefined }

function sameFields(a: object, b: object): boolean {
  const fields = Object.entries(a)
  const isSame = ([name, value]: readonly [string, unknown]) => Object.hasOwn(b, name) && Reflect.get(b, name) === value
  return fields.length === Object.keys(b).length && fields.every(isSame)
}
