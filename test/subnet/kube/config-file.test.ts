import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import { FileConfigSource } from '../../../subnet/kube/config-file.ts'
import type { ConfigText } from '../../../subnet/types.ts'

describe('the network configuration in a file', function () {
  this.timeout(20_000)
  let folder: string
  let over: AbortController

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'net-conf-'))
    over = new AbortController()
  })

  afterEach(() => {
    over.abort()
    rmSync(folder, { recursive: true })
  })

  /** As the kubelet does: a new folder, and a symbolic link that is swapped. */
  function mount(version: number): void {
    mkdirSync(join(folder, `..${version}`))
    writeFileSync(join(folder, `..${version}`, 'net-conf.json'), `{"version":${version}}`)
    symlinkSync(`..${version}`, join(folder, '..next'))
    renameSync(join(folder, '..next'), join(folder, '..data'))
  }

  it('is a value while it is missing, and follows the volume of a ConfigMap', async () => {
    const path = join(folder, 'net-conf.json')
    const source = new FileConfigSource({ clock: systemClock }, { path })
    const values = source.watch(over.signal)
    const next = async () => (await values.next()).value as ConfigText
    assert.deepEqual(await next(), { text: undefined, revision: '1', origin: path, subnets: 'assigned' })
    mount(1)
    symlinkSync('..data/net-conf.json', path)
    assert.equal((await next()).text, '{"version":1}')
    mount(2)
    assert.deepEqual([(await next()).text], ['{"version":2}'])
  })

  it('is read at once when it is asked for', async () => {
    const path = join(folder, 'net-conf.json')
    writeFileSync(path, 'one')
    const source = new FileConfigSource({ clock: systemClock }, { path })
    const values = source.watch(over.signal)
    await values.next()
    const changed = values.next()
    writeFileSync(path, 'two')
    // By then it waits.
    await systemClock.sleep(50, over.signal)
    const asked = systemClock.now()
    source.refresh()
    assert.equal((await changed).value?.text, 'two')
    assert.ok(systemClock.now() - asked < 1_000)
  })
})
