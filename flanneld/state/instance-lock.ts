import { closeSync, constants, openSync, readSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { tryLock } from '../../kernel/ffi/lock.ts'
import { AlreadyRunningError, PermissionError } from '../../lib/errors.ts'
import { isSystemError } from '../../lib/system-error.ts'
import { makeFolders } from './folders.ts'
import { isStill, overwrite } from './lock-file.ts'

/** The right to serve one subnet file. */
export interface InstanceLock {
  release(): void
}

/**
 * Takes the lock on the subnet file, whatever prefix and state directory belong to it: two daemons with one file would
 * overwrite each other's answer for ever. The lock lies beside the file and ends with the process, `kill -9` included; the
 * lock file stays, because removing it would let a third process lock a file that a second one still has open.
 *
 * @throws AlreadyRunningError naming the other process; PermissionError; the system's error where the file cannot be made
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
        writePid(fd, pid)
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

// On a full disk whoever comes second is refused all the same, only without our pid.
function writePid(fd: number, pid: number): void {
  try {
    overwrite(fd, `${pid}\n`)
  } catch (cause) {
    if (!isSystemError(cause)) throw cause
  }
}

function openLockFile(path: string): number {
  try {
    makeFolders(dirname(path), 0o755)
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o644)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ELOOP') throw new PermissionError(`${path} is a symbolic link; remove it`, { cause })
    if (code !== 'EACCES' && code !== 'EPERM') throw cause
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

function once(work: () => void): () => void {
  let done = false
  return () => {
    if (!done) work()
    done = true
  }
}
