import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { tryLock } from '../../kernel/ffi/lock.ts'
import { AlreadyRunningError, PermissionError } from '../../lib/errors.ts'

/** The right to serve one subnet file. */
export interface InstanceLock {
  release(): void
}

/**
 * Takes the lock on the subnet file, whatever prefix and state directory belong to it: two daemons with one file would
 * overwrite each other's answer for ever. The lock lies beside the file and ends with the process, `kill -9` included; the
 * lock file stays, because removing it would let a third process lock a file that a second one still has open.
 *
 * @throws AlreadyRunningError naming the other process; PermissionError
 */
export function lockInstance(subnetFile: string, pid: number): InstanceLock {
  const path = lockFileOf(subnetFile)
  for (;;) {
    const fd = openLockFile(path)
    let kept = false
    try {
      if (!tryLock(fd)) throw new AlreadyRunningError(alreadyRunning(subnetFile, readHolder(fd)))
      // Somebody may have removed the file between our open and our lock; then the lock is on nothing that others see.
      kept = isStill(path, fd)
      if (kept) {
        ftruncateSync(fd)
        writeSync(fd, `${pid}\n`, 0)
        return { release: once(() => closeSync(fd)) }
      }
    } finally {
      if (!kept) closeSync(fd)
    }
  }
}

export function lockFileOf(subnetFile: string): string {
  return join(dirname(subnetFile), `.${basename(subnetFile)}.lock`)
}

function openLockFile(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o644)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ELOOP') throw new PermissionError(`${path} is a symbolic link; remove it`, { cause })
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw cause
    throw new PermissionError(
      `${path} cannot be opened (${code}); run as root or name another place by --subnet-file`,
      { cause },
    )
  }
}

function alreadyRunning(subnetFile: string, holder: string | undefined): string {
  return `another flanneld${holder === undefined ? '' : ` (pid ${holder})`} already serves ${subnetFile}`
}

function readHolder(fd: number): string | undefined {
  const bytes = Buffer.alloc(16)
  return /^([1-9]\d{0,9})\n/.exec(bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, 0)))?.[1]
}

function isStill(path: string, fd: number): boolean {
  const now = statSync(path, { throwIfNoEntry: false })
  const mine = fstatSync(fd)
  return now?.ino === mine.ino && now.dev === mine.dev
}

function once(work: () => void): () => void {
  let done = false
  return () => {
    if (!done) work()
    done = true
  }
}
