import { type FSWatcher, watch } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Clock } from '../../lib/clock.ts'

/** How long to wait before a directory that vanished is watched again. */
const RETRY_MS = 500

/**
 * Calls `onChange` whenever the file may have been changed, replaced or removed; also when its directory was. Uses
 * inotify: nothing runs while nothing happens.
 */
export async function watchFile(
  needs: { clock: Clock; onChange: () => void },
  path: string,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const watcher = await open(dirname(path))
    if (watcher !== undefined) {
      // What happened before the watch began was not seen.
      needs.onChange()
      await ended(watcher, { ...needs, name: basename(path), directory: basename(dirname(path)) }, signal)
    }
    if (!signal.aborted) await needs.clock.sleep(RETRY_MS, signal).catch(() => {})
  }
}

async function open(directory: string): Promise<FSWatcher | undefined> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o755 })
    return watch(directory, { persistent: false })
  } catch {
    // Read-only or in the way: the table that writes the file reports it.
    return undefined
  }
}

/** Resolves when the directory is gone or cannot be watched any more. */
function ended(
  watcher: FSWatcher,
  needs: { onChange: () => void; name: string; directory: string },
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const close = () => {
      signal.removeEventListener('abort', close)
      watcher.close()
      resolve()
    }
    signal.addEventListener('abort', close, { once: true })
    // While the directory was opened: nobody would tell any more.
    if (signal.aborted) close()
    watcher.on('error', close)
    watcher.on('change', (event, name) => {
      // A removed directory reports itself under its own name.
      if (name === needs.name || name === null) needs.onChange()
      if (event === 'rename' && name === needs.directory) {
        needs.onChange()
        close()
      }
    })
  })
}
