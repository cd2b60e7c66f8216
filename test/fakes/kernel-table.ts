import { type KernelObject, keyOf, type ObjectKind } from '../../kernel/objects.ts'
import { type ObjectTable, type Op, OpFailure, type OpResult } from '../../kernel/table.ts'
import type { FakeKernel } from './kernel.ts'

/** One kind of the fake kernel's objects, read and written as a real table would. */
export class FakeTable implements ObjectTable {
  readonly kind: ObjectKind
  readonly #kernel: FakeKernel
  readonly #maker: string
  #dumped: readonly KernelObject[] | undefined

  /** `maker`: the program that asks. */
  constructor(kernel: FakeKernel, kind: ObjectKind, maker: string) {
    this.kind = kind
    this.#kernel = kernel
    this.#maker = maker
  }

  async dump(wanted: Iterable<KernelObject>): Promise<readonly KernelObject[]> {
    await nextTurn()
    await this.#kernel.hang(this.kind, 'dump')
    const fault = this.#kernel.call(this.kind, 'dump')
    if (fault !== undefined) throw new OpFailure({ code: fault.code, message: 'injected' })
    const all = this.#kernel.all(this.kind)
    this.#dumped = [...all]
    if (this.kind === 'guard-peer') {
      const isHeld = (object: KernelObject) =>
        'table' in object && this.#kernel.get(`guard-sets ${object.table}`) !== undefined
      return [...all, ...[...wanted].filter((object) => !isHeld(object))]
    }
    if (this.kind !== 'sysctl' && this.kind !== 'file') return all
    const keys = new Set([...wanted].map(keyOf))
    return all.filter((object) => keys.has(keyOf(object)))
  }

  async unchanged(): Promise<boolean> {
    await nextTurn()
    const dumped = this.#dumped
    const all = this.#kernel.all(this.kind)
    return all.length === dumped?.length && all.every((object, index) => object === dumped[index])
  }

  async apply(ops: readonly Op<KernelObject>[]): Promise<readonly OpResult[]> {
    await this.#kernel.hang(this.kind, 'apply')
    const results = ops.map((op) => this.#apply(op))
    await nextTurn()
    return results
  }

  #apply(op: Op<KernelObject>): OpResult {
    const fault = this.#kernel.call(this.kind, op.verb)
    if (fault === undefined || fault.done) {
      const code = this.#change(op)
      if (code !== undefined && fault === undefined) return { ok: false, error: { code, message: 'as Linux does' } }
    }
    return fault === undefined ? { ok: true } : { ok: false, error: { code: fault.code, message: 'injected' } }
  }

  #change(op: Op<KernelObject>): string | undefined {
    const key = keyOf(op.object)
    const answered = this.#kernel.makers.asked(this.#maker, op, this.#kernel.get(key))
    const code = this.#kernel.change(op)
    answered(this.#kernel.get(key))
    return code
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
