import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Entry, fill } from './bundle/fill.ts'

/** What dist/ is made of. */
const entries: readonly Entry[] = [
  { source: 'flanneld/main.ts', file: 'flanneld', command: true },
  { source: 'backends/udp/worker.ts', file: 'udp-worker.js' },
  { source: 'node_modules/re2js/build/index.js', file: 're2js.js' },
  { source: 'node_modules/js-yaml/dist/js-yaml.mjs', file: 'js-yaml.js' },
]

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')
const fresh = join(root, 'build', `dist-${process.pid}`)
const stale = join(root, 'build', `old-${process.pid}`)
try {
  await fill(fresh, entries)
  // Whole folders change place, so that a daemon started by somebody else meanwhile never loads half of a build.
  await rename(dist, stale).catch(absentIsFine)
  await rename(fresh, dist)
} finally {
  await rm(fresh, { recursive: true, force: true })
  await rm(stale, { recursive: true, force: true })
}

function absentIsFine(cause: NodeJS.ErrnoException): void {
  if (cause.code !== 'ENOENT') throw cause
}
