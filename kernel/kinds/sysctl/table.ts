import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { readSystemError } from '../../../lib/system-error.ts'
import type { NetlinkNeeds } from '../../netlink/device-batch.ts'
import { changeReversePath } from '../../netlink/link-messages.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import type { Sysctl } from './kind.ts'

/**
 * Values below /proc/sys. Read and written without a thread: they cost some microseconds each, and the network namespace
 * that counts is the calling thread's.
 */
export class SysctlTable implements ObjectTable<Sysctl> {
  readonly kind = 'sysctl'
  readonly #needs: Pick<NetlinkNeeds, 'channel' | 'devices'>
  readonly #root: string

  constructor(needs: Pick<NetlinkNeeds, 'channel' | 'devices'>, root = '/proc/sys') {
    this.#needs = needs
    this.#root = root
  }

  async dump(wanted: Iterable<Sysctl>): Promise<readonly Sysctl[]> {
    const found: Sysctl[] = []
    for (const { path } of wanted) {
      const value = readSysctl(path, this.#root)
      if (value !== undefined) found.push({ kind: 'sysctl', path, value })
    }
    return found
  }

  async apply(ops: readonly Op<Sysctl>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = []
    for (const op of ops) {
      const error = op.verb === 'remove' ? REMOVED : await this.#set(op.object)
      results.push(error === undefined ? { ok: true } : { ok: false, error })
    }
    return results
  }

  /** Where /proc/sys is closed the kernel takes by netlink what a way cannot do without. */
  async #set(sysctl: Sysctl): Promise<OpError | undefined> {
    const error = this.#write(sysctl)
    const [, device] = REVERSE_PATH.exec(sysctl.path) ?? []
    if (error === undefined || device === undefined || !CLOSED.has(error.code)) return error
    const record = await this.#needs.devices.look(device)
    if (record === undefined) return error
    const [refused] = await this.#needs.channel.request([changeReversePath(record.index, Number(sysctl.value))])
    return refused
  }

  #write({ path, value }: Sysctl): OpError | undefined {
    if (!isSysctlPath(path)) return { code: 'EINVAL', message: `not a path below ${this.#root}: ${path}` }
    try {
      // The kernel takes a value in one write; the file must not be made where it is missing.
      const fd = openSync(join(this.#root, path), constants.O_WRONLY)
      try {
        writeSync(fd, `${value}\n`)
      } finally {
        closeSync(fd)
      }
      return undefined
    } catch (cause) {
      return readSystemError(cause)
    }
  }
}

/** Columns are set apart by one space; undefined for what does not exist or may not be read. */
export function readSysctl(path: string, root = '/proc/sys'): string | undefined {
  if (!isSysctlPath(path)) return undefined
  try {
    return readFileSync(join(root, path), 'latin1').trim().replace(/\s+/g, ' ')
  } catch {
    return undefined
  }
}

const REVERSE_PATH = /^net\/ipv4\/conf\/([^/]+)\/rp_filter$/
const CLOSED: ReadonlySet<string> = new Set(['EROFS', 'EACCES', 'EPERM'])
const REMOVED: OpError = { code: 'EOPNOTSUPP', message: 'a sysctl cannot be removed' }

// A device name may hold nearly any character, but no slash.
function isSysctlPath(path: string): boolean {
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && !path.includes('\0')
}
