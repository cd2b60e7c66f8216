import assert from 'node:assert/strict'
import {
  chmodSync,
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
import { bootMark } from '../../flanneld/state/boot-mark.ts'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { instanceOf } from '../../flanneld/state/instance.ts'
import { peekState, StateDir } from '../../flanneld/state/state-dir.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import { PermissionError } from '../../lib/errors.ts'
import { createLogger } from '../../lib/log.ts'
import { VirtualClock } from '../fakes/clock.ts'

describe('the state directory', () => {
  let parent: string
  let path: string
  let warnings: string[]
  let seed: number
  const clock = new VirtualClock()
  const uid = process.getuid?.() ?? 0
  const open = (asUid = uid) =>
    StateDir.open(
      {
        uid: asUid,
        writes: new DiskWrites({ conditions: new ConditionSet({ clock }), clock, isStarting: () => true }),
        randomBytes: (count) => new Uint8Array(count).fill(seed++),
        log: createLogger((severity, message) => severity === 'warn' && warnings.push(message)),
      },
      path,
    )

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'state-dir-'))
    path = join(parent, 'lib', 'flannel')
    warnings = []
    seed = 1
  })
  afterEach(() => rmSync(parent, { recursive: true, force: true }))

  it('keeps one node identity for ever', async () => {
    const id = await (await open()).nodeId()
    assert.match(id, /^[0-9a-f]{32}$/)
    assert.equal(await (await open()).nodeId(), id)
    assert.equal(statSync(path).mode & 0o7777, 0o700)
    assert.equal(statSync(join(path, 'node-id')).mode & 0o7777, 0o600)
    assert.deepEqual(warnings, [])
  })

  for (const damage of ['', 'xx', '0'.repeat(31), '{}', '\0'.repeat(32)]) {
    it(`makes a damaged identity (${JSON.stringify(damage).slice(0, 20)}) anew, with a warning`, async () => {
      const first = await (await open()).nodeId()
      writeFileSync(join(path, 'node-id'), damage)
      const second = await (await open()).nodeId()
      assert.notEqual(second, first)
      assert.equal(await (await open()).nodeId(), second)
      assert.deepEqual(warnings, ['node identity was damaged and made anew'])
    })
  }

  it('of a disk that refuses all gives one identity for each boot, namespace and folder of a host', async () => {
    const refused = () =>
      Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC', errno: -28, syscall: 'write' }))
    const idOf = async (mark: string | undefined, folder = path) => {
      const files = {
        path: folder,
        read: async () => undefined,
        has: async () => false,
        write: refused,
        remove: refused,
      }
      const writes = new DiskWrites({ conditions: new ConditionSet({ clock }), clock, isStarting: () => true })
      const randomBytes = (count: number) => new Uint8Array(count).fill(seed++)
      const needs = { uid, writes, randomBytes, log: createLogger(() => {}), openFiles: async () => files }
      const state = await StateDir.open({ ...needs, bootMark: async () => mark }, folder)
      return await state.nodeId()
    }
    const first = await idOf('boot 1')
    // `check` and `plan` look ahead with the same one.
    mkdirSync(path, { recursive: true, mode: 0o700 })
    assert.equal((await peekState(path, uid, 'boot 1'))?.nodeId, first)
    assert.equal((await peekState(path, uid))?.nodeId, '')
    assert.match(first, /^[0-9a-f]{32}$/)
    assert.equal(await idOf('boot 1'), first)
    const others = [
      await idOf('boot 2'),
      await idOf('boot 1', `${path}/other`),
      await idOf(undefined),
      await idOf(undefined),
    ]
    assert.equal(new Set([first, ...others]).size, 5)
  })

  it('of this host has a mark that a second look finds again', async () => {
    const mark = await bootMark()
    assert.match(mark ?? '', /^[0-9a-f-]{36} net:\[\d+\]$/)
    assert.equal(await bootMark(), mark)
  })

  it('is looked at without a change of anything', async () => {
    assert.equal(await peekState(path, uid), undefined)
    assert.deepEqual(readdirSync(parent), [])
    const state = await open()
    const id = await state.nodeId()
    await state.journal.record([{ kind: 'device', name: 'flannel.1' }])
    chmodSync(path, 0o755)
    for (const name of readdirSync(path)) chmodSync(join(path, name), 0o644)
    const facts = () =>
      ['.', ...readdirSync(path)].map((name) => {
        const { mode, ino, mtimeMs, ctimeMs } = statSync(join(path, name))
        return [name, mode, ino, mtimeMs, ctimeMs]
      })
    const before = facts()
    const peeked = await peekState(path, uid)
    assert.deepEqual([peeked?.nodeId, peeked?.entries], [id, state.journal.entries])
    assert.deepEqual(facts(), before)
    await assert.rejects(peekState(path, uid + 1), /chown/)
    await open()
    assert.equal(statSync(path).mode & 0o7777, 0o700)
  })

  it('leaves no temporary file behind and is not stopped by one', async () => {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    chmodSync(path, 0o700)
    symlinkSync('/etc/passwd', join(path, '.node-id.new'))
    await (await open()).nodeId()
    assert.deepEqual(readdirSync(path), ['node-id'])
    assert.match(readFileSync('/etc/passwd', 'utf8'), /root/)
  })

  it('is narrowed when systemd made it 0755', async () => {
    mkdirSync(path, { recursive: true, mode: 0o755 })
    await open()
    assert.equal(statSync(path).mode & 0o7777, 0o700)
  })

  const refused: Record<string, { prepare: () => void; uid?: number; text: RegExp }> = {
    'is a symlink': { prepare: () => symlinkSync(parent, path), text: /not a directory/ },
    'is a file': { prepare: () => writeFileSync(path, ''), text: /not a directory/ },
    'others may write in': { prepare: () => makeDirectory(path, 0o770), text: /chmod 0700/ },
    'belongs to somebody else': { prepare: () => mkdirSync(path, { mode: 0o700 }), uid: uid + 1, text: /chown/ },
  }
  for (const [name, { prepare, uid, text }] of Object.entries(refused)) {
    it(`that ${name} is refused with the remedy`, async () => {
      mkdirSync(join(parent, 'lib'))
      prepare()
      await assert.rejects(open(uid), (cause) => cause instanceof PermissionError && text.test(cause.message))
    })
  }

  it('refuses an identity that is a symlink or that others may write', async () => {
    const file = join(path, 'node-id')
    const state = await open()
    symlinkSync('/etc/hostname', file)
    await assert.rejects(state.nodeId(), /symbolic link/)
    rmSync(file)
    writeFileSync(file, '0'.repeat(32))
    chmodSync(file, 0o666)
    await assert.rejects(state.nodeId(), /chmod 0600/)
  })
})

function makeDirectory(path: string, mode: number): void {
  mkdirSync(path)
  chmodSync(path, mode)
}

describe('an instance', () => {
  const defaults = {
    etcdPrefix: '/coreos.com/network',
    subnetFile: '/run/flannel/subnet.env',
    stateDir: '/var/lib/flannel',
    statusSocket: '/run/flannel/flanneld.sock',
  }

  it('of the defaults has no name and the plain paths', () => {
    assert.deepEqual(instanceOf(defaults), {
      name: '',
      stateDir: '/var/lib/flannel',
      statusSocket: '/run/flannel/flanneld.sock',
    })
  })

  it('of any other pair has places of its own', () => {
    const other = instanceOf({ ...defaults, etcdPrefix: '/other' })
    const third = instanceOf({ ...defaults, subnetFile: '/run/other.env' })
    assert.match(other.name, /^[0-9a-f]{8}$/)
    assert.equal(other.stateDir, `/var/lib/flannel/${other.name}`)
    assert.equal(other.statusSocket, `/run/flannel/flanneld-${other.name}.sock`)
    assert.equal(new Set([other.name, third.name, '']).size, 3)
    assert.equal(instanceOf({ ...defaults, etcdPrefix: '/other' }).name, other.name)
  })

  it('keeps a socket that was named by hand, and none', () => {
    const other = { ...defaults, etcdPrefix: '/other' }
    assert.equal(instanceOf({ ...other, statusSocket: '/tmp/s.sock' }).statusSocket, '/tmp/s.sock')
    assert.equal(instanceOf({ ...other, statusSocket: undefined }).statusSocket, undefined)
  })
})
