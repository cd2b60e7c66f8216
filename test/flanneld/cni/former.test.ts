import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readRecord } from '../../../flanneld/cni/record.ts'
import { removeCni } from '../../../flanneld/cni/removal.ts'
import { silentLogger } from '../../../lib/log.ts'
import { cniHost, conflistOf } from './watch-world.ts'

describe('the conflist of an earlier start', () => {
  let folder = ''
  let host: ReturnType<typeof cniHost>
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cni-'))
    host = cniHost(folder)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const file = (name: string) => join(folder, 'net.d', name)
  const write = (name: string, network: string) => {
    writeFileSync(file(name), conflistOf(network))
    return { confFile: file(name), name: network }
  }
  const recorded = async () => {
    const { network, former } = await readRecord({ files: host.files, log: silentLogger })
    return [network, ...former].map((each) => each?.name)
  }
  const run = async (watch: ReturnType<typeof host.watchOf>, work: () => Promise<void>) => {
    const stop = new AbortController()
    const ended = watch.run(stop.signal)
    try {
      await host.clock.advance(0)
      await work()
    } finally {
      stop.abort()
      await ended
    }
  }
  const settles = async (check: () => void | Promise<void>) => {
    for (let tries = 0; ; tries += 1) {
      try {
        return await check()
      } catch (cause) {
        if (tries === 200) throw cause
        await host.clock.advance(5_000)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
  }

  it('is on record beside the new one until it is removed, after that is written', async () => {
    const [blue, red] = [write('05-blue.conflist', 'blue'), write('06-red.conflist', 'red')]
    await run(host.watchOf([blue, red]), async () => {
      await settles(async () => assert.deepEqual(await recorded(), ['cbr0', 'blue', 'red']))
      assert.deepEqual(readdirSync(join(folder, 'net.d')), ['05-blue.conflist', '06-red.conflist'])
      write('10-flannel.conflist', 'cbr0')
      await settles(async () => assert.deepEqual(await recorded(), ['cbr0']))
      assert.deepEqual(readdirSync(join(folder, 'net.d')), ['10-flannel.conflist'])
    })
  })

  it('is tried again, named and on record as long as the system refuses to remove it', async () => {
    write('10-flannel.conflist', 'cbr0')
    const { confFile } = write('05-blue.conflist', 'blue')
    // Nobody removes what is in there.
    const descriptor = openSync(confFile, 'r')
    const former = { confFile: `/proc/self/fd/${descriptor}`, name: 'blue' }
    const watch = host.watchOf([former, write('06-red.conflist', 'red')])
    try {
      for (const _look of [1, 2]) {
        await watch.look()
        assert.match(host.conditions().join('\n'), /cni-former \/proc\/self\/fd.* its network blue: E/)
        assert.deepEqual(await recorded(), ['cbr0', 'blue'])
      }
    } finally {
      closeSync(descriptor)
    }
    await watch.look()
    assert.doesNotMatch(host.conditions().join('\n'), /cni-former/)
    assert.deepEqual(await recorded(), ['cbr0'])
  })

  it('is tried again where it cannot be read, and forgotten where somebody has put another there', async () => {
    write('10-flannel.conflist', 'cbr0')
    const former = { confFile: file('05-blue.conflist'), name: 'blue' }
    symlinkSync(former.confFile, former.confFile)
    const watch = host.watchOf([former])
    await watch.look()
    assert.match(host.conditions().join('\n'), /cni-former .*ELOOP/)
    rmSync(former.confFile)
    write('05-blue.conflist', 'green')
    await watch.look()
    assert.deepEqual([existsSync(former.confFile), await recorded()], [true, ['cbr0']])
    assert.doesNotMatch(host.conditions().join('\n'), /cni-former/)
  })

  it('is removed by a clean-up, too', async () => {
    const [blue, red] = [write('05-blue.conflist', 'blue'), write('06-red.conflist', 'red')]
    await run(host.watchOf([blue, red]), () =>
      settles(async () => assert.deepEqual(await recorded(), ['cbr0', 'blue', 'red'])),
    )
    const { removal, options } = host
    await removeCni(removal, { ...options, cniConfFile: undefined })
    assert.deepEqual([readdirSync(join(folder, 'net.d')), await recorded()], [[], [undefined]])
  })

  it('leaves plugins on record that another configuration may need, until that is gone', async () => {
    const { removal, options } = host
    const path = join(folder, 'portmap')
    writeFileSync(path, 'plugin')
    const { size, mtimeMs } = statSync(path)
    await host.files.keep('cni.json', JSON.stringify({ plugins: [{ path, size, mtimeMs, sha256: 'x' }] }))
    const other = write('05-blue.conflist', 'blue')
    assert.deepEqual(await removeCni(removal, options), [])
    // Where runtimes look by default, though ours is elsewhere.
    mkdirSync(removal.usualDirectory)
    const usual = join(removal.usualDirectory, '87-podman.conflist')
    renameSync(other.confFile, usual)
    assert.deepEqual(await removeCni(removal, options), [])
    assert.ok(existsSync(path))
    rmSync(usual)
    assert.deepEqual(await removeCni(removal, options), [`rm -f ${path}`])
    assert.deepEqual([existsSync(path), await recorded()], [false, [undefined]])
  })

  it('is known from a record of an earlier version', async () => {
    await host.files.keep('cni.json', '{"confFile":"/a.conflist","name":"blue","plugins":[]}')
    assert.deepEqual(await recorded(), ['blue'])
  })
})
