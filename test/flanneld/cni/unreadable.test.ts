import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Reservation } from '../../../flanneld/cni/facts.ts'
import { HandBack } from '../../../flanneld/cni/hand-back.ts'
import { ReservationReader } from '../../../flanneld/cni/read.ts'
import { removeCni } from '../../../flanneld/cni/removal.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { isSystemError } from '../../../lib/system-error.ts'
import { cniHost, conflistOf } from './watch-world.ts'

/** Regular for stat, refused by read, for root as well. */
const UNREADABLE = '/proc/self/mem'

describe('what of CNI cannot be read', () => {
  let folder = ''
  let stores = ''
  let scratch = ''
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cni-'))
    stores = join(folder, 'networks')
    scratch = join(folder, 'flannel')
    mkdirSync(join(stores, 'cbr0'), { recursive: true })
    mkdirSync(scratch)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  /** A link to itself, which nobody comes through. */
  const loop = (path: string) => symlinkSync(path, path)
  const reserve = (address: string, container: string) =>
    writeFileSync(join(stores, 'cbr0', address), `${container}\r\neth0`)
  const reservations = (...containers: readonly string[]): Reservation[] =>
    containers.map((container, n) => ({ network: 'cbr0', address: `10.5.9.${n + 2}` as IpAddr, container }))
  const delegate = '{"name":"cbr0","type":"bridge"}'
  const keep = async (...containers: readonly string[]) => {
    const clock = { now: () => 0, wall: () => Date.now() + 3_600_000, sleep: async () => {} }
    await new HandBack({ clock }, folder).keep('cbr0', delegate, reservations(...containers))
  }

  it('is said of a store, once, and of one that is not there nothing', async () => {
    reserve('10.5.9.2', 'a')
    for (const address of ['10.5.9.3', '10.5.9.4']) loop(join(stores, 'cbr0', address))
    loop(join(stores, 'blue'))
    writeFileSync(join(stores, 'note'), 'no store')
    const { found, unreadable } = await new ReservationReader(folder).read()
    assert.deepEqual(
      found.map(({ container }) => container),
      ['a'],
    )
    assert.deepEqual(unreadable.map(({ path, code }) => `${path} ${code}`).sort(), [
      `${join(stores, 'blue')} ELOOP`,
      `${join(stores, 'cbr0')} ELOOP`,
    ])
    assert.deepEqual((await new ReservationReader(join(folder, 'gone')).read()).unreadable, [])
  })

  it('is read again at the next look', async () => {
    const reader = new ReservationReader(folder)
    loop(join(stores, 'cbr0', '10.5.9.3'))
    assert.equal((await reader.read()).unreadable.length, 1)
    assert.equal((await reader.read()).unreadable.length, 1)
    rmSync(join(stores, 'cbr0', '10.5.9.3'))
    reserve('10.5.9.3', 'b')
    const { found, unreadable } = await reader.read()
    assert.deepEqual([found.map(({ container }) => container), unreadable], [['b'], []])
  })

  it('stays among the files for the meta-plugin, and what is empty, half or of nobody goes', async () => {
    symlinkSync(UNREADABLE, join(scratch, 'unreadable'))
    loop(join(scratch, 'loop'))
    writeFileSync(join(scratch, 'empty'), '')
    writeFileSync(join(scratch, 'half'), '{"name":')
    writeFileSync(join(scratch, 'gone'), delegate)
    writeFileSync(join(scratch, 'others'), '{"name":"blue"}')
    await keep('a')
    assert.deepEqual(readdirSync(scratch).sort(), ['a', 'loop', 'others', 'unreadable'])
    assert.equal(readFileSync(join(scratch, 'a'), 'utf8'), delegate)
  })

  it('is not written over, and the other containers have their file', async () => {
    symlinkSync(UNREADABLE, join(scratch, 'a'))
    await assert.rejects(keep('a', 'b'), isSystemError)
    assert.deepEqual(readdirSync(scratch).sort(), ['a', 'b'])
  })

  it('keeps the watch from taking anything away', async () => {
    const { watch, applied, conditions } = cniHost(folder)
    writeFileSync(join(scratch, 'x'), delegate)
    utimesSync(join(scratch, 'x'), 0, 0)
    loop(join(stores, 'cbr0', '10.5.3.7'))
    await watch.look()
    assert.deepEqual([applied, readdirSync(scratch)], [[], ['x']])
    assert.match(conditions().join('\n'), /^cni-unreadable .*cbr0: .*ELOOP/m)
    rmSync(join(stores, 'cbr0', '10.5.3.7'))
    await watch.look()
    assert.deepEqual([applied, readdirSync(scratch), conditions()], [['remove 10.5.3.1/24'], [], []])
  })

  it('keeps a clean-up from taking the store, the bridge and the way back', async () => {
    const { removal, options, warnings } = cniHost(folder)
    const { cniConfFile: confFile } = options
    const clean = async () => {
      writeFileSync(confFile, conflistOf('cbr0'))
      return await removeCni(removal, options)
    }
    writeFileSync(join(scratch, 'x'), delegate)
    loop(join(stores, 'cbr0', '10.5.9.7'))
    assert.deepEqual(await clean(), [`rm -f ${confFile}`])
    assert.deepEqual([existsSync(confFile), readdirSync(scratch), readdirSync(stores)], [false, ['x'], ['cbr0']])
    assert.match(warnings[0] ?? '', /stay/)
    rmSync(join(stores, 'cbr0', '10.5.9.7'))
    assert.equal((await clean()).includes(`rm -rf ${join(stores, 'cbr0')}`), true)
    assert.deepEqual([readdirSync(scratch), readdirSync(stores)], [[], []])
  })
})
