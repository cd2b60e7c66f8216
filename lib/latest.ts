/** A stream of whole truths. Conflating: a slow reader gets the newest value only. */
export interface Source<T> {
  readonly name: string
  watch(signal: AbortSignal): AsyncIterable<T>
}

/** Holds one value; every reader sees the newest it has not seen yet. Ends when `close` is called or the reader's signal is aborted. */
export class Latest<T> implements Source<T> {
  readonly name: string
  #value: T | undefined
  #version = 0
  #closed = false
  readonly #readers = new Set<() => void>()

  constructor(name: string) {
    this.name = name
  }

  get current(): T | undefined {
    return this.#value
  }

  set(value: T): void {
    this.#value = value
    this.#version += 1
    this.#wake()
  }

  close(): void {
    this.#closed = true
    this.#wake()
  }

  async *watch(signal: AbortSignal): AsyncGenerator<T> {
    let seen = 0
    let wake = () => {}
    const reader = () => wake()
    this.#readers.add(reader)
    signal.addEventListener('abort', reader, { once: true })
    try {
      while (!signal.aborted) {
        if (this.#version !== seen) {
          seen = this.#version
          yield this.#value as T
        } else if (this.#closed) {
          return
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
      }
    } finally {
      this.#readers.delete(reader)
      signal.removeEventListener('abort', reader)
    }
  }

  #wake(): void {
    for (const wake of this.#readers) wake()
  }
}
