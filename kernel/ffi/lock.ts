import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'

const flock = koffi.load(null).func('int flock(int, int)')
const LOCK_EX = 2
const LOCK_NB = 4

/**
 * Takes the exclusive lock of an open file without waiting; the kernel gives it back when the descriptor is closed,
 * however the process ends. False: another process holds it. Throws the system's error for everything else. Source: flock(2).
 */
export function tryLock(fd: number): boolean {
  // A signal may interrupt even a call that does not wait.
  for (;;) {
    if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true
    const errno = koffi.errno()
    if (errno === koffi.os.errno['EAGAIN']) return false
    if (errno === koffi.os.errno['EINTR']) continue
    const code = getSystemErrorName(-errno)
    throw Object.assign(new Error(`${code}: the file system has no locks, flock`), { code, syscall: 'flock' })
  }
}
