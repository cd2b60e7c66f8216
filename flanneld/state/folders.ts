import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a directory and its parents (0755) where they are missing. Not `recursive` of node: it says ENOENT of a read-only file
 * system. @throws the system's error
 */
export function makeFolders(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode })
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') return
    const parent = dirname(path)
    if (code !== 'ENOENT' || parent === path) throw cause
    makeFolders(parent, 0o755)
    mkdirSync(path, { mode })
  }
}
