import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { Clock } from '../../../lib/clock.ts'
import type { Source } from '../../../lib/latest.ts'
import { makeDirectory } from './directory.ts'

interface WatchNeeds {
  readonly clock: Clock
  readonly onChange: () => void
}

interface FolderNeeds {
  readonly clock: Clock
  /** Hears the name of what was made, changed, replaced or removed in the folder; null: anything may have been, unseen. */
  readonly onName: (name: string | null) => void
}

/** How long to wait before a directory that vanished is watched again. */
const RETRY_MS = 500

/** Watches each of the files that `paths` names at the moment, as `watchFile` does, until the signal is aborted. */
export async function watchFiles(
  needs: WatchNeeds,
  paths: Source<ReadonlySet<string>>,
  signal: AbortSignal,
): Promise<void> {
  const watched = new Map<string, { readonly stop: AbortController; readonly ended: Promise<void> }>()
  const end = async (path: string) => {
    const { stop, ended } = watched.get(path) ?? {}
    watched.delete(path)
    stop?.abort()
    await ended
  }
  for await (const named of paths.watch(signal)) {
    for (const path of watched.keys()) if (!named.has(path)) await end(path)
    for (const path of named) {
      if (watched.has(path)) continue
      const stop = new AbortController()
      watched.set(path, { stop, ended: watchFile(needs, path, stop.signal) })
    }
  }
  for (const path of watched.keys()) await end(path)
}

/** Calls `onChange` whenever the file may have been changed, replaced or removed; also when its directory was. */
async function watchFile({ clock, onChange }: WatchNeeds, path: string, signal: AbortSignal): Promise<void> {
  const onName = (name: string | null) => {
    if (name === basename(path) || name === null) onChange()
  }
  await watchFolder({ clock, onName }, dirname(path), signal)
}

/** Until the signal is aborted; the folder is made where it is missing. Uses inotify: nothing runs while nothing happens. */
export async function watchFolder(needs: FolderNeeds, folder: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const watcher = await open(folder)
    if (watcher !== undefined) {
      // What happened before the watch began was not seen.
      needs.onName(null)
      await ended(watcher, { ...needs, directory: basename(folder) }, signal)
    }
    if (!signal.aborted) await needs.clock.sleep(RETRY_MS, signal).catch(() => {})
  }
}

async function open(directory: string): Promise<FSWatcher | undefined> {
  try {
    await makeDirectory(directory)
    return watch(directory, { persistent: false })
  } catch {
    // Read-only or in the way: the table that writes the file reports it.
    return undefined
  }
}

/** Resolves when the directory is gone or cannot be watched any more. */
function ended(
  watcher: FSWatcher,
  needs: Pick<FolderNeeds, 'onName'> & { readonly directory: string },
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const close = () => {
      signal.removeEventListener('abort', close)
      watcher.close()
      resolve()
    }
    signal.addEventListener('abort', close, { once: true })
    // While the directory was opened: no event would end it any more.
    if (signal.aborted) close()
    watcher.on('error', close)
    watcher.on('change', (event, name) => {
      needs.onName(typeof name === 'string' ? name : null)
      // A removed directory reports itself under its own name.
      if (event === 'rename' && name === needs.directory) {
        needs.onName(null)
        close()
      }
    })
  })
}
