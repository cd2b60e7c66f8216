import type { Plan } from '../backends/backend.ts'
import { changesBetween } from '../lib/persistent-map.ts'
import type { Lease } from '../subnet/types.ts'
import { type NodePlan, type PlannerInput, planNode, planPeers } from './planner.ts'

/**
 * Plans as `planNode` does. Where nothing but some peers differs from the last time, only these are planned: of a plan, what
 * belongs to a peer depends on that peer alone, unless two of them want one object.
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

/** Undefined: peers want one object, so their ages decide, and all must be planned. */
function planChanged(last: { input: PlannerInput; plan: NodePlan }, input: PlannerInput): NodePlan | undefined {
  const changes = changesBetween(last.input.peers, input.peers)
  const before = leasesOf(changes, 'before')
  const gone = before.length === 0 ? [] : peerObjects(planPeers(input, before))
  const come = planPeers(input, leasesOf(changes, 'after'))
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

function leasesOf(changes: ReturnType<typeof changesBetween<Lease>>, which: 'before' | 'after'): readonly Lease[] {
  return changes.flatMap((change) => change[which] ?? [])
}

function peerObjects({ objects }: Plan) {
  return [...objects].filter(([, { role }]) => role.class === 'peer')
}

/** Whether everything but the peers is the same. */
function isSameBasis(a: PlannerInput, b: PlannerInput): boolean {
  const parts = ['facts', 'scope', 'options'] as const
  return parts.every((part) => sameFields(a[part], b[part])) && sameFields({ ...a, ...CLEARED }, { ...b, ...CLEARED })
}

const CLEARED = { peers: undefined, facts: undefined, scope: undefined, options: undefined }

function sameFields(a: object, b: object): boolean {
  const fields = Object.entries(a)
  const isSame = ([name, value]: readonly [string, unknown]) => Object.hasOwn(b, name) && Reflect.get(b, name) === value
  return fields.length === Object.keys(b).length && fields.every(isSame)
}
