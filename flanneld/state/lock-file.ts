import { fstatSync, ftruncateSync, statSync, writeSync } from 'node:fs'

/** Files that stay open because a lock is on them, so that they cannot be replaced by new ones. */

/** Whether the open file is the one that others find under this name. */
export function isStill(path: string, fd: number): boolean {
  const now = statSync(path, { throwIfNoEntry: false })
  const mine = fstatSync(fd)
  return now?.ino === mine.ino && now.dev === mine.dev
}

/**
 * The file says this and nothing else. What it said before is cut off last: on a full disk there is room for what takes the
 * place of something, and none for anything else.
 */
export function overwrite(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at)
  ftruncateSync(fd, bytes.length)
}
