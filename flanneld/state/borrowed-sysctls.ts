import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DesiredObject, keyOf, type Sysctl } from '../../kernel/objects.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import type { Logger } from '../../lib/log.ts'
import type { PrivateFiles } from './private-files.ts'

const FILE = 'sysctls.json'

/**
 * Values of the host's own sysctls that a plan changes for a while, as they were before: written down before the first
 * change, given back by the plan that no longer needs the change, also after a crash or by `flanneld cleanup`.
 */
export class BorrowedSysctls {
  readonly #files: PrivateFiles
  readonly #log: Logger
  readonly #root: string
  #originals: ReadonlyMap<string, string> = new Map()

  private constructor(needs: { files: PrivateFiles; log: Logger }, root: string) {
    this.#files = needs.files
    this.#log = needs.log
    this.#root = root
  }

  static async open(needs: { files: PrivateFiles; log: Logger }, root = '/proc/sys'): Promise<BorrowedSysctls> {
    const borrowed = new BorrowedSysctls(needs, root)
    const text = await needs.files.read(FILE)
    if (text !== undefined) borrowed.#originals = borrowed.#parse(text)
    return borrowed
  }

  /** Path -> the host's own value, of all that is changed now or was when the last run ended. */
  get originals(): ReadonlyMap<string, string> {
    return this.#originals
  }

  /** Records what the plan is about to change; await it before the change. */
  async borrow(objects: Iterable<DesiredObject>): Promise<void> {
    const more = new Map<string, string>()
    for (const object of objects) {
      if (object.kind !== 'sysctl' || !object.borrowed || this.#originals.has(object.path)) continue
      const value = presentSysctl(object.path, this.#root)
      if (value !== undefined && value !== object.value) more.set(object.path, value)
    }
    if (more.size > 0) await this.#write(new Map([...this.#originals, ...more]))
  }

  /** These have their own value again, so the record of them ends: from now on they are the operator's. */
  async returned(objects: Iterable<DesiredObject>): Promise<void> {
    const rest = new Map(this.#originals)
    for (const object of objects) if (object.kind === 'sysctl') rest.delete(object.path)
    if (rest.size !== this.#originals.size) await this.#write(rest)
  }

  async #write(originals: ReadonlyMap<string, string>): Promise<void> {
    await this.#files.write(FILE, `${JSON.stringify(Object.fromEntries(originals))}\n`)
    this.#originals = originals
  }

  #parse(text: string): ReadonlyMap<string, string> {
    try {
      return parseSysctlRecord(text)
    } catch (cause) {
      this.#log.warn('record of changed sysctls was damaged and begun anew', { cause: messageOf(cause) })
      return new Map()
    }
  }
}

/** The present value; undefined where there is none. `path` as in `net/ipv4/conf/eth0/rp_filter`. Read at once: behind it is no disk. */
export function presentSysctl(path: string, root = '/proc/sys'): string | undefined {
  try {
    return readFileSync(join(root, path), 'latin1').trim()
  } catch {
    return undefined
  }
}

/** What must be given back because `wanted` no longer changes it. Pure. */
export function sysctlReturns(
  originals: ReadonlyMap<string, string>,
  wanted: ReadonlyMap<string, DesiredObject>,
): readonly DesiredObject[] {
  return [...originals].flatMap(([path, value]) => {
    const sysctl: Sysctl = { kind: 'sysctl', path, value }
    if (wanted.has(keyOf(sysctl))) return []
    return [{ ...sysctl, role: { class: 'advisory', remedy: `echo ${value} > /proc/sys/${path}` } }]
  })
}

/** @throws ConfigError or SyntaxError */
export function parseSysctlRecord(text: string): ReadonlyMap<string, string> {
  const document: unknown = JSON.parse(text)
  const fields = new JsonFields(document, '')
  return new Map(
    Object.keys(document as object).map((path) => {
      const value = fields.string(path)
      const isPath =
        /^net\/ipv[46]\/conf\/[^/\s]{1,15}\/\w+$/.test(path) && !path.includes('/../') && !path.includes('/./')
      if (!isPath || value === undefined || !/^\d{1,10}$/.test(value))
        throw new ConfigError(path, 'must be a sysctl and a number', value)
      return [path, value] as const
    }),
  )
}
