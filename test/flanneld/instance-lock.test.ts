import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lastRefused, lockInstance, noteRefusal } from '../../flanneld/state/instance-lock.ts'
import { AlreadyRunningError, PermissionError } from '../../lib/errors.ts'

describe('the lock of an instance', () => {
  let folder: string
  let child: ChildProcess | undefined
  const subnetFile = () => join(folder, 'run', 'subnet.env')

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'instance-lock-'))
  })
  afterEach(() => {
    child?.kill('SIGKILL')
    child = undefined
    rmSync(folder, { recursive: true })
  })

  it('is refused to a second holder, naming the first', () => {
    const lock = lockInstance(subnetFile(), 4711)
    assert.throws(
      () => lockInstance(subnetFile(), 4712),
      (cause) =>
        cause instanceof AlreadyRunningError &&
        cause.message.includes('pid 4711') &&
        cause.message.includes(subnetFile()),
    )
    lock.release()
    lock.release()
    lockInstance(subnetFile(), 4713).release()
    assert.equal(readFileSync(join(folder, 'run', '.subnet.env.lock'), 'utf8'), '4713\n')
  })

  it('names pods, since each process in a container has the pid 1', () => {
    const lock = lockInstance(subnetFile(), 1, 'kube-flannel/a')
    assert.throws(() => lockInstance(subnetFile(), 1, 'kube-system/b'), /another flanneld \(pod kube-flannel\/a\)/)
    // A command that is refused is no second daemon.
    assert.equal(lastRefused(subnetFile()), undefined)
    noteRefusal(subnetFile(), { pid: 1, pod: 'kube-system/b' })
    const { at, ...refused } = lastRefused(subnetFile()) ?? { at: 0 }
    assert.deepEqual(refused, { pid: 1, pod: 'kube-system/b' })
    assert.ok(at > 0)
    lock.release()
  })

  it('has refused nobody whose note is no note of ours', () => {
    lockInstance(subnetFile(), 1).release()
    assert.equal(lastRefused(subnetFile()), undefined)
    writeFileSync(join(folder, 'run', '.subnet.env.refused'), '1\n$(reboot)/x\n')
    assert.equal(lastRefused(subnetFile())?.pod, undefined)
    writeFileSync(join(folder, 'run', '.subnet.env.refused'), 'pid 1\n')
    assert.equal(lastRefused(subnetFile()), undefined)
  })

  it('is one per subnet file', () => {
    const locks = [lockInstance(subnetFile(), 1), lockInstance(join(folder, 'other.env'), 2)]
    for (const lock of locks) lock.release()
  })

  it('ends with a killed process', async () => {
    const program = `
      import { lockInstance } from ${JSON.stringify(join(import.meta.dirname, '../../flanneld/state/instance-lock.ts'))}
      lockInstance(${JSON.stringify(subnetFile())}, process.pid)
      process.stdout.write('held')
      setInterval(() => {}, 1000)`
    child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    if (child.stdout === null) throw new Error('no stdout')
    await once(child.stdout, 'data')
    assert.throws(() => lockInstance(subnetFile(), 1), new RegExp(`pid ${child.pid}\\b`))
    child.kill('SIGKILL')
    await once(child, 'exit')
    lockInstance(subnetFile(), 1).release()
  })

  it('follows no symlink', () => {
    lockInstance(subnetFile(), 1).release()
    rmSync(join(folder, 'run', '.subnet.env.lock'))
    symlinkSync('/etc/hostname', join(folder, 'run', '.subnet.env.lock'))
    assert.throws(() => lockInstance(subnetFile(), 1), PermissionError)
  })
})
