import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import { identify, isAlive, processesOfLab } from '../../lab/proc.ts'
import { labFolder, readRecords, sweep } from '../../lab/record.ts'

describe('a crashed lab', function () {
  this.timeout(120_000)

  it('is swept: processes with their children, namespaces, files, record', async () => {
    const script = fileURLToPath(new URL('./crashing-lab.ts', import.meta.url))
    const child = spawn(execPath, ['--import', 'tsx', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = await once(child.stdout, 'data', { signal: AbortSignal.timeout(60_000) })
    const id = String(line).trim()
    assert.match(id, /^[0-9a-f]{6}$/)
    const alive = await sweep()
    assert.ok(
      alive.alive.some((record) => record.id === id),
      'a living lab is left alone',
    )
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    const orphans = await processesOfLab(id)
    assert.ok(orphans.length >= 3, `etcd, sh and sleep outlive the crash, not ${orphans.length} processes`)

    // Another lab of somebody else's may have been faster: what counts is that everything is gone.
    await sweep()
    assert.deepEqual(
      await Promise.all(orphans.map(isAlive)),
      orphans.map(() => false),
    )
    assert.deepEqual(
      readdirSync('/run/netns').filter((name) => name.startsWith(`lab-${id}-`)),
      [],
    )
    assert.equal(existsSync(labFolder(id)), false)
    assert.ok(!(await readRecords()).some((record) => record.id === id))
  })

  it('is known by pid and start time: a used-again pid is another process', async () => {
    const self = await identify(1)
    assert.ok(self !== undefined)
    assert.equal(await isAlive(self), true)
    assert.equal(await isAlive({ pid: 1, started: `${self.started}1` }), false)
  })
})
