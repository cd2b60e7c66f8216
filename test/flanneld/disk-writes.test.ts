import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { StateDir } from '../../flanneld/state/state-dir.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import type { JournalEntry } from '../../kernel/kinds/kind.ts'
import { AlreadyRunningError, PermissionError } from '../../lib/errors.ts'
import { silentLogger } from '../../lib/log.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { until } from '../until.ts'

const systemError = (code: string) => Object.assign(new Error(`${code}: refused, write`), { code, syscall: 'write' })

describe('a write to a disk', () => {
  let clock: VirtualClock
  let conditions: ConditionSet
  let writes: DiskWrites
  let starting: boolean
  let refusal: Error | undefined
  let written: string[]
  let end: AbortController
  const write = (text: string, path = '/state/file') => ({
    path,
    effect: 'something waits',
    write: async () => {
      if (refusal !== undefined) throw refusal
      written.push(text)
    },
  })
  const shown = () => conditions.list().map(({ code, text, remedy }) => `${code}: ${text}; ${remedy}`)

  beforeEach(() => {
    end = new AbortController()
    clock = new VirtualClock()
    conditions = new ConditionSet({ clock })
    starting = false
    refusal = undefined
    written = []
    writes = new DiskWrites({ conditions, clock, isStarting: () => starting })
    void writes.run(end.signal)
  })
  afterEach(() => end.abort())

  const refusals: Record<string, RegExp> = {
    ENOSPC: /make room/,
    EDQUOT: /quota/,
    EROFS: /read-write/,
    EIO: /dmesg/,
    EMFILE: /open files/,
    ENOTDIR: /remove what stands/,
    ETXTBSY: /see what the reason says/,
  }
  for (const [code, remedy] of Object.entries(refusals)) {
    it(`refused with ${code} is a condition that names path, effect, reason and remedy, until it works`, async () => {
      refusal = systemError(code)
      assert.equal(await writes.attempt(write('a')), false)
      const [text = ''] = shown()
      assert.match(
        text,
        /^write-failed \/state\/file: \/state\/file could not be written: something waits \(E[A-Z]+: refused/,
      )
      assert.match(text, remedy)
      await clock.advance(600_000)
      assert.equal(conditions.list().length, 1)
      refusal = undefined
      const before = writes.changes.current ?? 0
      await clock.advance(30_000)
      assert.deepEqual([written, shown(), writes.changes.current], [['a'], [], before + 1])
    })
  }

  it('over quota, which node has no name for, is told as that', async () => {
    const code = 'Unknown system error -122'
    refusal = Object.assign(new Error(`${code}: ${code}, mkdir '/state'`), {
      code,
      errno: -122,
      syscall: 'mkdir',
      path: '/state',
    })
    await writes.attempt(write('a'))
    assert.match(shown()[0] ?? '', /\(EDQUOT: disk quota exceeded, mkdir '\/state'\); raise the quota/)
  })

  it('is tried again after a second, and at least twice a minute', async () => {
    let tries = 0
    const refuse = async () => {
      tries += 1
      throw systemError('EIO')
    }
    const stubborn = { ...write(''), write: refuse }
    await writes.attempt(stubborn)
    await clock.advance(1_000)
    assert.equal(tries, 2)
    await clock.advance(600_000)
    const before = tries
    await clock.advance(60_000)
    assert.ok(tries >= before + 2, `${tries - before} tries in a minute`)
  })

  it('gives way to a newer one to the same place, and to no other', async () => {
    refusal = systemError('ENOSPC')
    await writes.attempt(write('old'))
    await writes.attempt(write('else', '/state/other'))
    await writes.attempt(write('new'))
    refusal = undefined
    await clock.advance(30_000)
    assert.deepEqual(written.sort(), ['else', 'new'])
    assert.deepEqual(shown(), [])
  })

  it('is not made any more when a newer one came while others were tried again', async () => {
    refusal = systemError('ENOSPC')
    let release = () => {}
    const slow = { ...write('slow', '/state/slow'), write: () => new Promise<void>((resolve) => (release = resolve)) }
    const first = { ...slow, write: write('').write }
    await writes.attempt(first)
    Object.assign(first, { write: slow.write })
    await writes.attempt(write('old'))
    refusal = undefined
    await clock.advance(1_000)
    const newer = writes.attempt(write('new'))
    release()
    assert.equal(await newer, true)
    await clock.advance(1_000)
    assert.deepEqual(written, ['new'])
  })

  for (const [what, cause] of [
    ['a lack of rights', new PermissionError('no')],
    ['another daemon', new AlreadyRunningError('pid 7')],
  ] as const) {
    it(`that meets ${what} ends a start, and later is a condition`, async () => {
      refusal = cause
      starting = true
      await assert.rejects(writes.attempt(write('a')), cause)
      starting = false
      assert.equal(await writes.attempt(write('a')), false)
      assert.match(shown()[0] ?? '', new RegExp(cause.message))
    })
  }

  it('does not hide a fault of the program', async () => {
    refusal = new TypeError('a fault')
    await assert.rejects(writes.attempt(write('a')), TypeError)
    assert.deepEqual(shown(), [])
  })
})

describe('a state directory that cannot be written', () => {
  let parent: string
  let path: string
  let clock: VirtualClock
  let conditions: ConditionSet
  let end: AbortController
  const device = (name: string): JournalEntry => ({ kind: 'device', name })
  const files = () => conditions.list().map(({ code }) => code.replace(`write-failed ${path}/`, ''))

  async function open() {
    clock = new VirtualClock()
    conditions = new ConditionSet({ clock })
    const writes = new DiskWrites({ conditions, clock, isStarting: () => true })
    void writes.run(end.signal)
    const randomBytes = (count: number) => new Uint8Array(count).fill(7)
    return await StateDir.open({ log: silentLogger, writes, uid: process.getuid?.() ?? 0, randomBytes }, path)
  }

  beforeEach(() => {
    end = new AbortController()
    parent = mkdtempSync(join(tmpdir(), 'state-refused-'))
    path = join(parent, 'lib', 'flannel')
    // Root may write everywhere but below a file.
    writeFileSync(join(parent, 'lib'), '')
  })
  afterEach(() => {
    end.abort()
    rmSync(parent, { recursive: true, force: true })
  })

  it('lets the node work with what it knows, and is written when it can be', async () => {
    const state = await open()
    const id = await state.nodeId()
    assert.match(id, /^[0-9a-f]{32}$/)
    assert.equal(await state.journal.record([device('flannel.1')]), false)
    assert.equal(await state.journal.record([device('flannel.2')]), false)
    assert.deepEqual([...state.journal.entries.keys()], ['device flannel.1', 'device flannel.2'])
    assert.deepEqual(files(), ['footprint.json', 'node-id'])
    rmSync(join(parent, 'lib'))
    await clock.advance(31_000)
    await until(5_000, 'all is written', async () => assert.deepEqual(files(), []))
    assert.equal(readFileSync(join(path, 'node-id'), 'utf8'), `${id}\n`)
    assert.deepEqual((await open()).journal.entries, state.journal.entries)
    assert.equal(await state.journal.record([device('flannel.1')]), true)
  })

  it('takes the newest value of a sysctl until one is written', async () => {
    const borrow = (value: string) =>
      state.journal.record([{ kind: 'sysctl', path: 'net/ipv4/conf/eth0/rp_filter', value }])
    const onDisk = () => readFileSync(join(path, 'sysctls.json'), 'utf8')
    const state = await open()
    assert.equal(await borrow('1'), false)
    assert.equal(await borrow('0'), false)
    assert.deepEqual(files(), ['sysctls.json'])
    rmSync(join(parent, 'lib'))
    await clock.advance(31_000)
    await until(5_000, 'it is written', async () => assert.equal(await borrow('0'), true))
    assert.equal(onDisk(), '{"net/ipv4/conf/eth0/rp_filter":"0"}\n')
    // This one is ours.
    assert.equal(await borrow('2'), true)
    assert.equal(onDisk(), '{"net/ipv4/conf/eth0/rp_filter":"0"}\n')
  })

  it('that is removed while the process runs is written again as it was', async () => {
    rmSync(join(parent, 'lib'))
    await (await open()).nodeId()
    const state = await open()
    const id = await state.nodeId()
    await state.journal.record([device('flannel.1')])
    const before = readdirSync(path).sort()
    rmSync(join(parent, 'lib'), { recursive: true })
    await state.files.look()
    assert.deepEqual(readdirSync(path).sort(), before)
    assert.equal(await (await open()).nodeId(), id)
  })
})
