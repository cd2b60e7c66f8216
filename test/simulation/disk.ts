import type { FilePort } from '../../flanneld/state/state-files.ts'
import type { SimulatedProcess } from './process.ts'

/** A state directory in memory; it outlives the processes that use it. */
export class SimulatedDisk {
  readonly #files = new Map<string, string>()
  /** Every write fails. */
  full = false
  /** Some did. */
  wasFull = false
  /** What a write takes. */
  delayMs = 0

  text(name: string): string | undefined {
    return this.#files.get(name)
  }

  /** As one process uses it. */
  portOf(process: SimulatedProcess, path: string): FilePort {
    const change = async (work: () => void) => {
      await process.wait(this.delayMs)
      await process.call(() => {
        this.wasFull ||= this.full
        if (this.full) throw noSpace(path)
        work()
      })
    }
    return {
      path,
      read: (name) => process.call(() => this.#files.get(name)),
      has: (name) => process.call(() => this.#files.has(name)),
      write: (name, text) => change(() => void this.#files.set(name, text)),
      remove: (name) => change(() => void this.#files.delete(name)),
    }
  }
}

/** As node tells it. */
function noSpace(path: string): Error {
  const fields = { code: 'ENOSPC', errno: -28, syscall: 'write', path }
  return Object.assign(new Error(`ENOSPC: no space left on device, write '${path}'`), fields)
}
