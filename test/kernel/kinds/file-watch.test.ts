import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileTable } from '../../../kernel/kinds/file/table.ts'
import type { StateFile } from '../../../kernel/objects.ts'
import { systemClock } from '../../../lib/clock.ts'
import { steady, until } from '../../until.ts'
import * as the from '../fixtures.ts'

describe('the watch over files', () => {
  let root: string
  let table: FileTable
  let stop: AbortController
  let watching: Promise<void>
  let changes: number

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'file-watch-'))
    table = new FileTable({ clock: systemClock })
    stop = new AbortController()
    changes = 0
    watching = table.watch(() => {
      changes += 1
    }, stop.signal)
  })
  afterEach(async () => {
    stop.abort()
    await watching
    rmSync(root, { recursive: true })
  })

  const fileIn = (folder: string) => the.file('', join(root, folder, 'subnet.env')) as StateFile
  /** Wants these, and waits until what the beginning of their watches tells has been told. */
  const want = async (...files: readonly StateFile[]) => {
    const before = changes
    await table.dump(files)
    if (files.length > 0) await until(5_000, 'it is watched', async () => assert.ok(changes > before))
    await steady(50, async () => changes)
  }
  const told = async (act: () => void): Promise<boolean> => {
    const before = changes
    act()
    return (await steady(100, async () => changes)) > before
  }

  it('tells of a file that is wanted, whatever else its directory holds', async () => {
    const file = fileIn('run')
    await want(file)
    assert.equal(await told(() => writeFileSync(join(root, 'run', 'other'), '')), false)
    assert.equal(await told(() => writeFileSync(file.path, 'x')), true)
    assert.equal(await told(() => rmSync(file.path)), true)
  })

  it('goes over to what is wanted now', async () => {
    const [one, two] = [fileIn('one'), fileIn('two')]
    await want(one)
    await want(two)
    assert.equal(await told(() => writeFileSync(one.path, 'x')), false)
    assert.equal(await told(() => writeFileSync(two.path, 'x')), true)
    await want()
    assert.equal(await told(() => rmSync(two.path)), false)
  })

  it('tells of a directory that is removed, and makes it anew as others can read it', async () => {
    const before = process.umask(0o077)
    try {
      const file = fileIn('run')
      await want(file)
      assert.equal(await told(() => rmSync(join(root, 'run'), { recursive: true })), true)
      await until(5_000, 'it is there', async () => assert.equal(statSync(join(root, 'run')).mode & 0o777, 0o755))
    } finally {
      process.umask(before)
    }
  })

  it('ends when it is stopped while it opens the directory', async () => {
    await table.dump([fileIn('run')])
    stop.abort()
    await watching
  })
})
