import type { DesiredObject } from '../kernel/objects.ts'
import { keyOf } from '../kernel/objects.ts'
import type { Notice, PathState, Plan, SkippedPeer } from './backend.ts'

/**
 * Collects a plan. A peer's objects enter together or not at all: a second value for a key that is taken already
 * (two peers with one MAC or one gateway address) skips the later peer.
 */
export class PlanBuilder {
  readonly #objects = new Map<string, DesiredObject>()
  readonly #owners = new Map<string, string>()
  readonly #skipped: SkippedPeer[] = []
  readonly #paths = new Map<string, PathState>()
  readonly #notices: Notice[] = []

  add(...objects: readonly DesiredObject[]): void {
    for (const object of objects) this.#objects.set(keyOf(object), object)
  }

  notice(notice: Notice): void {
    this.#notices.push(notice)
  }

  skip(id: string, reason: string, text: string): void {
    this.#skipped.push({ id, reason, text })
  }

  addPeer(id: string, path: PathState, objects: readonly DesiredObject[]): void {
    const keys = objects.map(keyOf)
    const taken = keys.find((key) => this.#objects.has(key))
    if (taken !== undefined) {
      this.skip(id, 'duplicate', `"${taken}" already belongs to ${this.#owners.get(taken) ?? 'this node'}`)
      return
    }
    this.add(...objects)
    for (const key of keys) this.#owners.set(key, id)
    this.#paths.set(id, path)
  }

  build(mtu: number): Plan {
    return {
      objects: [...this.#objects.values()],
      mtu,
      skipped: this.#skipped,
      paths: this.#paths,
      notices: this.#notices,
    }
  }
}
