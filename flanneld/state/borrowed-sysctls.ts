import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DesiredObject, keyOf, type Sysctl } from '../../kernel/objects.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import type { Logger } from '../../lib/log.ts'
import type { StateFiles } from './state-files.ts'

const FILE = 'sysctls.json'

const UNTIL_WRITTEN =
  'rp_filter of the external interface stays strict, so packets may be lost while a peer moves from the tunnel to a direct path or back'

/**
 * Values of the host's own sysctls that a plan changes for a while, as they were: written down before the first change, given
 * back by the plan that no longer needs the change, also after a crash or by `flanneld cleanup`. What cannot be written down
 * is not changed.
 */
export class BorrowedSysctls {
  readonly #files: StateFiles
  readonly #root: string
  #originals: ReadonlyMap<string, string> = new Map()
  /** What the file shall say: also what is to be changed once the disk takes it. */
  #wanted: ReadonlyMap<string, string> = new Map()

  private constructor(needs: { files: StateFiles }, root: string) {
    this.#files = needs.files
    this.#root = root
  }

  static async open(needs: { files: StateFiles; log: Logger }, root = '/proc/sys'): Promise<BorrowedSysctls> {
    const borrowed = new BorrowedSysctls(needs, root)
    borrowed.#originals = await readBorrowed(needs)
    borrowed.#wanted = borrowed.#originals
    if (borrowed.#originals.size > 0) needs.files.found(FILE, textOf(borrowed.#originals), UNTIL_WRITTEN)
    return borrowed
  }

  /** Path -> the host's own value, of all that is changed now or was when the last run ended. */
  get originals(): ReadonlyMap<string, string> {
    return this.#originals
  }

  /** Something was to be changed and its value could not be written down yet: until then it is not changed. */
  get waiting(): boolean {
    return this.#wanted.size > this.#originals.size
  }

  /** Records what the plan is about to change; await it before the change. False: `waiting`, and nothing may be changed. */
  async borrow(objects: Iterable<DesiredObject>): Promise<boolean> {
    const more = new Map<string, string>()
    for (const object of objects) {
      if (object.kind !== 'sysctl' || !object.borrowed || this.#originals.has(object.path)) continue
      const value = presentSysctl(object.path, this.#root)
      if (value !== undefined && value !== object.value) more.set(object.path, value)
    }
    return more.size === 0 || (await this.#write(new Map([...this.#wanted, ...more])))
  }

  /** These have their own value again, so the record of them ends: from now on they are the operator's. */
  async returned(objects: Iterable<DesiredObject>): Promise<boolean> {
    const wanted = new Map(this.#wanted)
    const originals = new Map(this.#originals)
    for (const object of objects) {
      if (object.kind !== 'sysctl' || !originals.delete(object.path)) continue
      wanted.delete(object.path)
    }
    if (originals.size === this.#originals.size) return true
    this.#originals = originals
    return await this.#write(wanted)
  }

  async #write(wanted: ReadonlyMap<string, string>): Promise<boolean> {
    this.#wanted = wanted
    return await this.#files.keep(FILE, textOf(wanted), UNTIL_WRITTEN, () => {
      this.#originals = wanted
    })
  }
}

/** What is on record, read without writing anything; a damaged record is none, with a line in the log. */
export async function readBorrowed(needs: {
  readonly files: Pick<StateFiles, 'read'>
  readonly log: Logger
}): Promise<ReadonlyMap<string, string>> {
  const text = await needs.files.read(FILE)
  if (text === undefined) return new Map()
  try {
    return parseSysctlRecord(text)
  } catch (cause) {
    needs.log.warn('record of changed sysctls was damaged and begun anew', { cause: messageOf(cause) })
    return new Map()
  }
}

function textOf(originals: ReadonlyMap<string, string>): string {
  return `${JSON.stringify(Object.fromEntries(originals))}\n`
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
