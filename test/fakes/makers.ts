import { type KernelObject, keyOf } from '../../kernel/objects.ts'
import type { Op } from '../../kernel/table.ts'

/** Of what other programs put there while no test says whose it is, and of what the kernel makes by itself. */
const OTHERS = 'others'

/**
 * Who made which object of a fake kernel: told by whose table was asked for it, never by what the object looks like. So a test can
 * judge what the product takes for its own.
 */
export class Makers {
  readonly #makers = new Map<string, string>()
  /** Changes of somebody else's objects, a line each. */
  readonly offences: string[] = []
  /** Whose objects become those of who changes them. */
  readonly leavers = new Set<string>()
  /** Objects of others that may be changed all the same. */
  mayChange: (object: KernelObject) => boolean = () => false

  /** Whose this object is, which is there now. */
  of(object: KernelObject): string {
    return this.#makers.get(keyOf(object)) ?? OTHERS
  }

  /** From now on it is theirs. */
  give(object: KernelObject, maker: string): void {
    this.#makers.set(keyOf(object), maker)
  }

  /** What vanished by itself is nobody's when it comes again. */
  gone(key: string): void {
    this.#makers.delete(key)
  }

  /** An op of this asker at whose key this stood. */
  asked(asker: string, { verb, object }: Op<KernelObject>, before: KernelObject | undefined): void {
    if (before === undefined) return
    const maker = this.of(before)
    if (maker === asker || this.leavers.has(maker) || this.mayChange(before)) return
    this.offences.push(`${asker} was to ${verb} ${keyOf(object)} of ${maker}: ${JSON.stringify(before)}`)
  }

  /** What came of it. */
  done(asker: string, { object }: Op<KernelObject>, before: KernelObject | undefined, isThere: boolean): void {
    if (isThere && (before === undefined || this.leavers.has(this.of(before)))) this.give(object, asker)
    else if (!isThere) this.gone(keyOf(object))
  }
}
