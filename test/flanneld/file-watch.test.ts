import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { watchFile } from '../../flanneld/state/file-watch.ts'
import { systemClock } from '../../lib/clock.ts'

describe('file watch', () => {
  const folder = mkdtempSync(join(tmpdir(), 'file-watch-'))
  after(() => rmSync(folder, { recursive: true }))

  it('ends when it is stopped while it opens the directory', async () => {
    const stop = new AbortController()
    const watching = watchFile({ clock: systemClock, onChange: () => {} }, join(folder, 'subnet.env'), stop.signal)
    stop.abort()
    await watching
  })
})
