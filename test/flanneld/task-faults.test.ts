import assert from 'node:assert/strict'
import { NoInterfaceError } from '../../flanneld/host/external-interface.ts'
import { ConditionSet } from '../../flanneld/status/status.ts'
import { createLifecycle } from '../../flanneld/task-faults.ts'
import { untilHad } from '../../flanneld/until-had.ts'
import { OpFailure } from '../../kernel/table.ts'
import { AlreadyRunningError, ConfigError, PermissionError } from '../../lib/errors.ts'
import { createLogger } from '../../lib/log.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

const EMFILE = Object.assign(new Error('EMFILE: too many open files, open'), { code: 'EMFILE', syscall: 'open' })
const interrupted = new OpFailure({ code: 'EINTR', message: 'the list changed during 8 attempts to read it' })

function rig(wasReady: boolean) {
  const clock = new VirtualClock()
  const conditions = new ConditionSet({ clock })
  const errors: string[] = []
  const log = createLogger((severity, message, { stack }) => {
    if (severity === 'error') errors.push(`${message}; stack ${typeof stack === 'string'}`)
  })
  let ended: unknown
  const end = (cause: unknown) => {
    ended = cause
  }
  const lifecycle = createLifecycle({ clock, log, conditions }, { end, wasReady: () => wasReady })
  return { clock, conditions, errors, lifecycle, ended: () => ended }
}

describe('a fault of a background task', () => {
  const decisions = [
    new ConfigError('Network', 'must be a prefix'),
    new PermissionError('no rights'),
    new AlreadyRunningError('pid 7'),
  ]
  const local = [EMFILE, interrupted, new TypeError('a fault'), 'no error at all']
  const cases: [task: string, wasReady: boolean, causes: readonly unknown[], ends: boolean][] = [
    ['configuration', false, decisions, true],
    ['configuration', true, decisions, false],
    ['own lease', true, decisions, true],
    ['own lease', true, local, false],
    ['own lease', false, local, false],
    ['host facts', false, [new NoInterfaceError('no interface fits')], true],
    ['planner', false, local, false],
    ['planner', true, local, false],
  ]
  for (const [task, wasReady, causes, ends] of cases) {
    for (const cause of causes) {
      const when = wasReady ? 'of a node that was ready' : 'at the start'
      it(`${ends ? 'ends' : 'does not end'} the daemon: ${cause} of ${task} ${when}`, async () => {
        const { lifecycle, conditions, clock, ended } = rig(wasReady)
        let runs = 0
        lifecycle.run(task, async () => {
          runs += 1
          throw cause
        })
        await clock.advance(1_000)
        assert.equal(ended(), ends ? cause : undefined)
        assert.equal(conditions.list().length, ends ? 0 : 1)
        assert.equal(runs > 1, !ends)
        await lifecycle.stop()
      })
    }
  }

  it('is a condition by its kind, with a remedy, until the task is well', async () => {
    const { lifecycle, conditions, errors, clock } = rig(true)
    const causes = [EMFILE, interrupted, new TypeError('a fault')]
    const seen: string[][] = []
    lifecycle.run('planner', async (signal) => {
      const cause = causes.shift()
      if (cause !== undefined) throw cause
      await clock.sleep(1e9, signal)
    })
    for (const wait of [0, 250, 500]) {
      await clock.advance(wait)
      seen.push(conditions.list().map(({ code, severity, remedy }) => `${severity} ${code}: ${remedy}`))
    }
    assert.equal(
      seen.every(({ length }) => length === 1),
      true,
    )
    const [first, second, third] = seen.flat()
    assert.match(first ?? '', /^warning refused-by-host planner: .*LimitNOFILE/)
    assert.match(second ?? '', /^warning refused-by-host planner: .*ip monitor/)
    assert.match(third ?? '', /^warning internal-fault planner: .*report it/)
    // Only a fault of the program is of use with its stack.
    assert.deepEqual(errors, ['planner ended unexpectedly: a fault; stack true'])
    await clock.advance(12_000)
    assert.deepEqual(conditions.list(), [])
    await lifecycle.stop()
  })
})

describe('what the start needs of this host', () => {
  async function look(...outcomes: readonly unknown[]) {
    const clock = new VirtualClock()
    const conditions = new ConditionSet({ clock })
    const left = [...outcomes]
    const stop = new AbortController()
    const found = untilHad(
      { clock, conditions },
      'host',
      async () => {
        const next = left.shift()
        if (next instanceof Error) throw next
        return next
      },
      stop.signal,
    )
    found.catch(() => {})
    await settleTasks()
    return { clock, conditions, found, stop }
  }

  it('is waited for while the kernel refuses it, with a condition', async () => {
    const { clock, conditions, found } = await look(interrupted, EMFILE, 'found')
    assert.deepEqual(
      conditions.list().map(({ code }) => code),
      ['refused-by-host host'],
    )
    await clock.advance(1_000)
    assert.equal(await found, 'found')
    assert.deepEqual(conditions.list(), [])
  })

  it('is not waited for when something else is wrong', async () => {
    const none = new Error('no interface fits')
    await assert.rejects((await look(none)).found, none)
    const refused = new OpFailure({ code: 'EPERM', message: 'operation not permitted' })
    await assert.rejects((await look(refused)).found, PermissionError)
  })

  it('ends with the signal', async () => {
    const { found, stop } = await look(interrupted)
    stop.abort(new Error('SIGTERM received'))
    await assert.rejects(found, /SIGTERM/)
  })
})
