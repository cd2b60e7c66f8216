import { ConfigError } from './errors.ts'

/**
 * The fields of one JSON object from outside, read without regard to case as Go does; of a doubled key the last counts.
 * Values are copied into a Map, so no key reaches a prototype. Every error names the path,
 * and the value unless the object may hold secrets.
 */
export class JsonFields {
  readonly path: string
  readonly #isSecret: boolean
  readonly #fields = new Map<string, { key: string; value: unknown }>()
  readonly #known = new Map<string, string>()

  /** @throws ConfigError when `value` is no object */
  constructor(value: unknown, path: string, { secret = false }: { readonly secret?: boolean } = {}) {
    this.path = path
    this.#isSecret = secret
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#fault(path || 'the document', 'must be a JSON object', value)
    }
    for (const [key, item] of Object.entries(value)) this.#fields.set(key.toLowerCase(), { key, value: item })
  }

  /** The raw value; JSON null counts as absent, as for Go. */
  raw(name: string): unknown {
    const folded = name.toLowerCase()
    this.#known.set(folded, name)
    return this.#fields.get(folded)?.value ?? undefined
  }

  /** Whether the key is there at all, null included. */
  has(name: string): boolean {
    const folded = name.toLowerCase()
    this.#known.set(folded, name)
    return this.#fields.has(folded)
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name)
    if (value === undefined) return fallback
    if (typeof value !== 'boolean') throw this.#fault(this.at(name), 'must be true or false', value)
    return value
  }

  string(name: string): string | undefined {
    const value = this.raw(name)
    if (value !== undefined && typeof value !== 'string') throw this.#fault(this.at(name), 'must be a string', value)
    return value
  }

  /** An integer from `least` to `most`. */
  integer(name: string, limits: { least: number; most: number; fallback: number }): number {
    const value = this.raw(name)
    if (value === undefined) return limits.fallback
    if (typeof value !== 'number' || !Number.isInteger(value) || value < limits.least || value > limits.most) {
      throw this.#fault(this.at(name), `must be an integer from ${limits.least} to ${limits.most}`, value)
    }
    return value
  }

  at(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`
  }

  #fault(path: string, expected: string, value: unknown): ConfigError {
    return new ConfigError(path, expected, this.#isSecret ? undefined : value)
  }

  /** A sentence per key that nothing has asked for, with the nearest known key. Call it last. */
  unknownKeys(): string[] {
    const known = [...this.#known.values()]
    return [...this.#fields]
      .filter(([folded]) => !this.#known.has(folded))
      .map(([, { key }]) => `${this.at(JSON.stringify(key).slice(1, -1).slice(0, 60))}: unknown key${hint(key, known)}`)
  }
}

function hint(key: string, known: readonly string[]): string {
  const ranked = known
    .map((name) => ({ name, distance: editDistance(key.toLowerCase().slice(0, 60), name.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  return ranked[0] === undefined ? '' : `; the nearest known key is ${ranked[0].name}`
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_unused, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution))
    }
    row = next
  }
  return row[b.length] ?? 0
}
