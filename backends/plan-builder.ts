import { type DesiredObject, keyOf } from '../kernel/objects.ts'
import type { Ingress, Notice, PathState, Plan, SkippedPeer } from './backend.ts'
import type { FamilyPlan, PeerPlan } from './peer-plan.ts'

/**
 * Collects a plan. A peer's objects of one family enter together or not at all: a second value for a key that is taken already
 * (two peers with one MAC or one gateway address) leaves the later peer out in that family.
 */
export class PlanBuilder {
  readonly #objects = new Map<string, DesiredObject>()
  readonly #skipped: SkippedPeer[] = []
  readonly #paths = new Map<string, PathState>()
  readonly #notices: Notice[] = []
  #ingress: Ingress | undefined

  add(...objects: readonly DesiredObject[]): void {
    for (const object of objects) this.#objects.set(keyOf(object), object)
  }

  comesIn(ingress: Ingress): void {
    this.#ingress = ingress
  }

  notice(notice: Notice): void {
    this.#notices.push(notice)
  }

  addPeer(id: string, plan: PeerPlan): void {
    for (const part of plan) this.#addFamily(id, part)
  }

  build(mtu: number): Plan {
    return {
      objects: this.#objects,
      mtu,
      skipped: this.#skipped,
      paths: this.#paths,
      notices: this.#notices,
      ...(this.#ingress === undefined ? {} : { ingress: this.#ingress }),
    }
  }

  #addFamily(id: string, plan: FamilyPlan): void {
    if ('reason' in plan) {
      this.#skipped.push({ id, reason: plan.reason, text: plan.text })
      return
    }
    const taken = plan.keys.find((key) => this.#objects.has(key))
    if (taken !== undefined) {
      this.#skipped.push({ id, reason: 'duplicate', text: `"${taken}" already belongs to ${this.#ownerOf(taken)}` })
      return
    }
    for (const [index, object] of plan.objects.entries()) this.#objects.set(plan.keys[index] ?? keyOf(object), object)
    // Direct is what needs no tunnel in any family.
    this.#paths.set(id, this.#paths.get(id) === 'tunnel' ? 'tunnel' : plan.path)
  }

  #ownerOf(key: string): string {
    const role = this.#objects.get(key)?.role
    return role?.class === 'peer' ? role.peer : 'this node'
  }
}
