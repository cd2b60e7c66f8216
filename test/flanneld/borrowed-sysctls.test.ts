import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { BorrowedSysctls, parseSysctlRecord, sysctlReturns } from '../../flanneld/state/borrowed-sysctls.ts'
import { DiskWrites } from '../../flanneld/state/disk-writes.ts'
import { PrivateFiles } from '../../flanneld/state/private-files.ts'
import { StateFiles } from '../../flanneld/state/state-files.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import { keyOf } from '../../kernel/objects.ts'
import { silentLogger } from '../../lib/log.ts'
import { VirtualClock } from '../fakes/clock.ts'

const path = 'net/ipv4/conf/eth0/rp_filter'
const loose: DesiredObject = {
  kind: 'sysctl',
  path,
  value: '2',
  borrowed: true,
  role: { class: 'advisory', remedy: '' },
}

describe('a borrowed sysctl', () => {
  let folder: string
  let root: string
  let files: StateFiles
  const open = () => BorrowedSysctls.open({ files, log: silentLogger }, root)

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sysctls-'))
    root = join(folder, 'sys')
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), '1\n')
    const clock = new VirtualClock()
    const writes = new DiskWrites({ conditions: new ConditionSet({ clock }), clock, isStarting: () => true })
    const folderOfState = await PrivateFiles.open(join(folder, 'state'), process.getuid?.() ?? 0)
    files = new StateFiles({ files: folderOfState, writes, log: silentLogger })
  })

  afterEach(() => rm(folder, { recursive: true }))

  it('is on record before it is changed, with the value of the host', async () => {
    const sysctls = await open()
    await sysctls.borrow([loose])
    assert.deepEqual([...sysctls.originals], [[path, '1']])
    assert.match(await readFile(join(folder, 'state/sysctls.json'), 'utf8'), /"1"/)
  })

  it('keeps the first value on record over changes and restarts', async () => {
    await (await open()).borrow([loose])
    await writeFile(join(root, path), '2\n')
    const restarted = await open()
    await restarted.borrow([loose])
    assert.deepEqual([...restarted.originals], [[path, '1']])
  })

  it('is wanted back as soon as no plan changes it, and then belongs to the host again', async () => {
    const sysctls = await open()
    await sysctls.borrow([loose])
    assert.deepEqual(sysctlReturns(sysctls.originals, new Map([[keyOf(loose), loose]])), [])
    const returns = sysctlReturns(sysctls.originals, new Map())
    assert.deepEqual(
      returns.map((object) => object.kind === 'sysctl' && [object.path, object.value]),
      [[path, '1']],
    )
    await sysctls.returned(returns)
    assert.equal((await open()).originals.size, 0)
  })

  it('is not recorded where the host has the value already, nor an ordinary one', async () => {
    const sysctls = await open()
    await sysctls.borrow([
      { ...loose, value: '1' },
      { ...loose, path: 'net/ipv4/conf/eth1/rp_filter' },
    ])
    assert.equal(sysctls.originals.size, 0)
  })

  const bad = [
    '[]',
    '{"net/ipv4/conf/../../kernel/x":"1"}',
    '{"kernel/core_pattern":"1"}',
    `{"${path}":1}`,
    `{"${path}":"|/bin/sh"}`,
    '{',
  ]
  for (const text of bad) {
    it(`is not believed of a record like ${text}`, async () => {
      assert.throws(() => parseSysctlRecord(text))
      await files.keep('sysctls.json', text, '')
      assert.equal((await open()).originals.size, 0)
    })
  }
})
