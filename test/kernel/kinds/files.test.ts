import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileTable } from '../../../kernel/kinds/file/table.ts'
import type { StateFile } from '../../../kernel/objects.ts'
import { systemClock } from '../../../lib/clock.ts'

describe('the table of files', () => {
  let directory = ''
  let wanted: StateFile
  const table = new FileTable({ clock: systemClock })
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'files-'))
    wanted = {
      kind: 'file',
      path: join(directory, 'run/flannel/subnet.env'),
      content: 'FLANNEL_MTU=1450\n',
      mode: 0o644,
    }
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  it('leaves out what does not exist', async () => {
    assert.deepEqual(await table.dump([wanted]), [])
  })

  it('writes a file and its directory with exact modes, whatever the umask', async () => {
    const before = process.umask(0o077)
    try {
      assert.deepEqual(await table.apply([{ verb: 'create', object: wanted }]), [{ ok: true }])
    } finally {
      process.umask(before)
    }
    assert.deepEqual(await table.dump([wanted]), [wanted])
    assert.equal(statSync(join(directory, 'run')).mode & 0o777, 0o755)
    assert.equal(statSync(join(directory, 'run/flannel')).mode & 0o777, 0o755)
  })

  it('replaces content and mode, leaving nothing beside', async () => {
    await table.apply([{ verb: 'create', object: wanted }])
    const changed = { ...wanted, content: 'FLANNEL_MTU=1400\n', mode: 0o600 }
    const stale = join(directory, 'run/flannel/.subnet.env.new')
    symlinkSync('/nowhere', stale)
    assert.deepEqual(await table.apply([{ verb: 'update', object: changed, actual: wanted }]), [{ ok: true }])
    assert.deepEqual(await table.dump([changed]), [changed])
    assert.deepEqual(readdirSync(join(directory, 'run/flannel')), ['subnet.env'])
  })

  it("keeps Docker's options behind the content, and nothing else", async () => {
    const keeping: StateFile = { ...wanted, keeps: 'docker options' }
    const options = 'DOCKER_OPT_BIP="--bip=10.5.72.1/24"\nDOCKER_OPTS=" --label \\"a\\" --bip=10.5.72.1/24"\n'
    mkdirSync(join(directory, 'run/flannel'), { recursive: true })
    writeFileSync(
      wanted.path,
      `${options}FLANNEL_MTU=1500\n\nDOCKER_OPTS="$(id)"\nPATH="/tmp"\nDOCKER_OPTS=" --mtu=1500"`,
    )
    const [found] = await table.dump([keeping])
    assert.ok(found)
    await table.apply([{ verb: 'update', object: keeping, actual: found }])
    const [written] = await table.dump([keeping])
    assert.equal(written?.content, `FLANNEL_MTU=1450\n${options}DOCKER_OPTS=" --mtu=1500"\n`)
  })

  it('replaces a link instead of following it', async () => {
    const victim = join(directory, 'victim')
    writeFileSync(victim, 'precious')
    mkdirSync(join(directory, 'run/flannel'), { recursive: true })
    symlinkSync(victim, wanted.path)
    await table.apply([{ verb: 'update', object: wanted, actual: wanted }])
    assert.equal(readFileSync(victim, 'utf8'), 'precious')
    assert.equal(readFileSync(wanted.path, 'utf8'), wanted.content)
  })

  it('refuses a directory in the place of the file, and goes on', async () => {
    mkdirSync(wanted.path, { recursive: true })
    const other = { ...wanted, path: join(directory, 'other') }
    assert.deepEqual(await table.dump([wanted]), [])
    const [refused, done] = await table.apply([
      { verb: 'create', object: wanted },
      { verb: 'create', object: other },
    ])
    assert.equal(refused?.ok === false && refused.error.code, 'EISDIR')
    assert.deepEqual(done, { ok: true })
    assert.deepEqual(readdirSync(join(directory, 'run/flannel')), ['subnet.env'])
  })

  it('does not wait for the other end of a pipe', async () => {
    mkdirSync(join(directory, 'run/flannel'), { recursive: true })
    execFileSync('mkfifo', [wanted.path])
    assert.deepEqual(await table.dump([wanted]), [])
    assert.deepEqual(await table.apply([{ verb: 'create', object: wanted }]), [{ ok: true }])
    assert.deepEqual(await table.dump([wanted]), [wanted])
  })

  it('removes', async () => {
    await table.apply([{ verb: 'create', object: wanted }])
    assert.deepEqual(await table.apply([{ verb: 'remove', object: wanted }]), [{ ok: true }])
    const [result] = await table.apply([{ verb: 'remove', object: wanted }])
    assert.equal(result?.ok === false && result.error.code, 'ENOENT')
  })
})
