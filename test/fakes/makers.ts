import { isDeepStrictEqual } from 'node:util'
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

  /**
   * An op that this program asks of the kernel, at whose key `before` stands. Call what it returns with what stands there afterwards:
   * what the kernel refused harms nobody.
   */
  asked(asker: string, { verb, object }: Op<KernelObject>, before: KernelObject | undefined): Answered {
    const maker = before === undefined ? asker : this.of(before)
    const mayChange = before === undefined || maker === asker || this.leavers.has(maker) || this.mayChange(before)
    return (after) => {
      if (isDeepStrictEqual(before, after)) return
      if (!mayChange) this.offences.push(`${asker} did ${verb} ${keyOf(object)} of ${maker}: ${JSON.stringify(before)}`)
      if (after === undefined) this.gone(keyOf(object))
      else this.give(object, asker)
    }
  }
}

type Answered = (after: KernelObject | undefined) => void
