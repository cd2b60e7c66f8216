import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs'
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

/** A process of this program; in containers each has the pid 1, and the pod tells them apart. */
export interface Holder {
  readonly pid: number
  /** Namespace and name, `kube-flannel/kube-flannel-ds-x7k2p`. */
  readonly pod?: string | undefined
}

/**
 * Takes the lock on the subnet file, whatever prefix and state directory belong to it: two daemons with one file would
 * overwrite each other's answer for ever. The lock lies beside the file and ends with the process, `kill -9` included; the
 * lock file stays, because removing it would let a third process lock a file that a second one still has open.
 *
 * @throws AlreadyRunningError naming the other process; PermissionError; the system's error where the file cannot be made
 */
export function lockInstance(subnetFile: string, pid: number, pod?: string): InstanceLock {
  const me = { pid, pod }
  const path = lockFileOf(subnetFile)
  for (;;) {
    const fd = openLockFile(path)
    let kept = false
    try {
      if (!tryLock(fd)) {
        throw new AlreadyRunningError(alreadyRunning(subnetFile, holderIn(readFileSync(fd, 'utf8'))))
      }
      // Somebody may have removed the file between our open and our lock; then the lock is on nothing that others see.
      kept = isStill(path, fd)
      if (kept) {
        writeHolder(fd, me)
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

/** Who was refused last because another process serves the subnet file, and when (ms since 1970); undefined: nobody. */
export function lastRefused(subnetFile: string): (Holder & { readonly at: number }) | undefined {
  try {
    const path = refusedFileOf(subnetFile)
    const holder = holderIn(readFileSync(path, 'utf8'))
    return holder && { ...holder, at: statSync(path).mtimeMs }
  } catch {
    return undefined
  }
}

export function holderWords({ pid, pod }: Holder): string {
  return pod === undefined ? `pid ${pid}` : `pod ${pod}`
}

export function refusedFileOf(subnetFile: string): string {
  return join(dirname(subnetFile), `.${basename(subnetFile)}.refused`)
}

// On a full disk whoever comes second is refused all the same, only without our name.
function writeHolder(fd: number, holder: Holder): void {
  orNothing(() => overwrite(fd, textOf(holder)))
}

/** Left by a daemon that was refused, so that the holder can name it. Without one it names nobody, and this process ends all the same. */
export function noteRefusal(subnetFile: string, me: Holder): void {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW | constants.O_NONBLOCK
  orNothing(() => {
    const fd = openSync(refusedFileOf(subnetFile), flags, 0o644)
    try {
      writeSync(fd, textOf(me))
    } finally {
      closeSync(fd)
    }
  })
}

function orNothing(write: () => void): void {
  try {
    write()
  } catch (cause) {
    if (!isSystemError(cause)) throw cause
  }
}

function textOf({ pid, pod }: Holder): string {
  return pod === undefined ? `${pid}\n` : `${pid}\n${pod}\n`
}

/** An earlier version writes the first line only. */
function holderIn(text: string): Holder | undefined {
  const [, pid, pod] = /^([1-9]\d{0,9})\n(?:([a-z0-9.-]{1,63}\/[a-z0-9.-]{1,253})\n)?/.exec(text) ?? []
  return pid === undefined ? undefined : { pid: Number(pid), pod }
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

function alreadyRunning(subnetFile: string, holder: Holder | undefined): string {
  return `another flanneld${holder === undefined ? '' : ` (${holderWords(holder)})`} already serves ${subnetFile}`
}

function once(work: () => void): () => void {
  let done = false
  return () => {
    if (!done) work()
    done = true
  }
}
