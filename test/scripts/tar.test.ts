import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { tar } from '../../scripts/image/tar.ts'

const list = (archive: Buffer) =>
  execFileSync('tar', ['--numeric-owner', '--utc', '-tvf', '-'], { input: archive, encoding: 'utf8' })
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' '))

describe('an archive', () => {
  it('is read by tar: folders first, links, modes, the time asked for', () => {
    const archive = tar(
      [
        { path: 'usr/bin/tool', mode: 0o755, content: 'tool' },
        { path: 'bin', target: 'usr/bin' },
        { path: 'usr/empty', mode: 0o600, content: '' },
        { path: 'usr-x', mode: 0o644, content: 'ä' },
      ],
      86_400,
    )
    assert.deepEqual(list(archive), [
      'lrwxrwxrwx 0/0 0 1970-01-02 00:00 bin -> usr/bin',
      '-rw-r--r-- 0/0 2 1970-01-02 00:00 usr-x',
      'drwxr-xr-x 0/0 0 1970-01-02 00:00 usr/',
      'drwxr-xr-x 0/0 0 1970-01-02 00:00 usr/bin/',
      '-rwxr-xr-x 0/0 4 1970-01-02 00:00 usr/bin/tool',
      '-rw------- 0/0 0 1970-01-02 00:00 usr/empty',
    ])
    assert.equal(execFileSync('tar', ['-xOf', '-', 'usr-x'], { input: archive, encoding: 'utf8' }), 'ä')
  })

  it('holds files of every length to the byte', () => {
    for (const length of [1, 511, 512, 513]) {
      const content = Buffer.alloc(length, 'x')
      const archive = tar([{ path: 'file', mode: 0o644, content }], 0)
      assert.equal(archive.length % 512, 0)
      assert.ok(execFileSync('tar', ['-xOf', '-', 'file'], { input: archive }).equals(content))
    }
  })

  it('holds names of more than a hundred bytes, and refuses what has no room', () => {
    const long = `${'folder/'.repeat(15)}${'n'.repeat(90)}`
    assert.ok(list(tar([{ path: long, mode: 0o644, content: 'x' }], 0)).some((line) => line.endsWith(long)))
    assert.throws(() => tar([{ path: 'n'.repeat(101), mode: 0o644, content: '' }], 0), /too long/)
    assert.throws(() => tar([{ path: 'a', target: 'n'.repeat(101) }], 0), /too long/)
  })
})
