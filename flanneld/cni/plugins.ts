import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { copyFile, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { makeDirectory } from '../../kernel/kinds/file/directory.ts'
import type { Logger } from '../../lib/log.ts'
import { readSystemError } from '../../lib/system-error.ts'
import type { CniRecord, InstalledPlugin } from './record.ts'

/** Of the conflist and, for the runtime itself, of every container's `lo`. */
export const NEEDED: readonly string[] = ['bridge', 'host-local', 'loopback', 'portmap']

/** Names that are nothing but a name. Source: CVE-2021-20206, a plugin's type that was a path. */
const NAME = /^[a-z0-9][a-z0-9._-]*$/

interface PluginDirectories {
  readonly binDir: string
  /** Undefined: nothing is copied. */
  readonly from: string | undefined
}

/**
 * Sees that the plugins can be run: what is missing or damaged is copied, whole or not at all, mode 0755 and no more. What is there is left
 * alone, unless it is a copy of ours of an earlier version of `from`.
 */
export class Plugins {
  readonly #log: Logger
  readonly #record: CniRecord
  readonly #directories: PluginDirectories
  /** Whether copies of ours have been compared with where they come from; that is read once in a run. */
  #compared = false

  constructor(needs: { log: Logger; record: CniRecord }, directories: PluginDirectories) {
    this.#log = needs.log
    this.#record = needs.record
    this.#directories = directories
  }

  /** By name, why one that is needed cannot be run, after all has been tried. */
  async mend(needed: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const { binDir, from } = this.#directories
    const carried = from === undefined ? [] : await carriedBy(from)
    const broken = new Map<string, string>()
    for (const name of new Set([...needed, ...carried])) {
      const path = join(binDir, name)
      const fault = await faultOf(path)
      const source = from !== undefined && carried.includes(name) ? join(from, name) : undefined
      if (fault === undefined && (this.#compared || source === undefined || !(await this.#isOutdated(path, source))))
        continue
      const refused = source === undefined ? undefined : await this.#copy(source, path, fault ?? 'an earlier version')
      if (fault !== undefined && (source === undefined || refused !== undefined))
        broken.set(name, [fault, refused].filter((part) => part !== undefined).join('; '))
    }
    this.#compared = true
    return broken
  }

  /** Only a copy of ours that nobody has changed since. */
  async #isOutdated(path: string, source: string): Promise<boolean> {
    const installed = this.#record.installed(path)
    if (installed === undefined || !(await isUnchanged(path, installed))) return false
    try {
      return (await digest(source)) !== installed.sha256
    } catch {
      return false
    }
  }

  /** Undefined: done. Else why not. */
  async #copy(source: string, path: string, why: string): Promise<string | undefined> {
    const { binDir } = this.#directories
    // One name for all times: what a killed process left is removed by the next one.
    const temporary = join(binDir, `.${path.slice(path.lastIndexOf('/') + 1)}.new`)
    try {
      await makeDirectory(binDir)
      await rm(temporary, { force: true })
      await copyFile(source, temporary, constants.COPYFILE_EXCL)
      const sha256 = await digest(temporary)
      const { mtime } = await stat(source)
      const file = await open(temporary, constants.O_RDONLY | constants.O_NOFOLLOW)
      try {
        await file.chmod(0o755)
        await file.sync()
      } finally {
        await file.close()
      }
      await utimes(temporary, mtime, mtime)
      await rename(temporary, path)
      const { size, mtimeMs } = await stat(path)
      await this.#record.install({ path, size, mtimeMs, sha256 })
      this.#log.warn('CNI plugin restored', { path, from: source, was: why })
      return undefined
    } catch (cause) {
      await rm(temporary, { force: true }).catch(() => {})
      return readSystemError(cause).message
    }
  }
}

/** Removes a copy of ours that nobody has changed since; false: it is gone, or somebody else's by now. */
export async function removeInstalled(plugin: InstalledPlugin): Promise<boolean> {
  if (!(await isUnchanged(plugin.path, plugin))) return false
  await rm(plugin.path, { force: true })
  return true
}

async function carriedBy(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => [])
  const found: string[] = []
  for (const name of names)
    if (NAME.test(name) && (await faultOf(join(directory, name))) === undefined) found.push(name)
  return found
}

/** Undefined: it can be run. */
async function faultOf(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path)
    if (!found.isFile()) return 'no plain file'
    if (found.size === 0) return 'empty'
    return (found.mode & 0o111) === 0 ? 'not executable' : undefined
  } catch (cause) {
    const { code, message } = readSystemError(cause)
    return code === 'ENOENT' || code === 'ENOTDIR' ? 'missing' : message
  }
}

async function isUnchanged(path: string, { size, mtimeMs }: InstalledPlugin): Promise<boolean> {
  return await stat(path).then(
    (found) => found.size === size && found.mtimeMs === mtimeMs,
    () => false,
  )
}

async function digest(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of createReadStream(path)) hash.update(part)
  return hash.digest('hex')
}
