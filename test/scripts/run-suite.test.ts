import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runFiles } from '../../scripts/test/run-suite.ts'
import { until } from '../until.ts'

describe('a run of test files', function () {
  this.timeout(30_000)
  const folder = mkdtempSync(join(tmpdir(), 'flanneld-run-'))
  after(() => rmSync(folder, { recursive: true }))

  const run = async (source: string, minutes = 1) => {
    const file = join(folder, 'case.test.ts')
    writeFileSync(file, source)
    const outcome = await runFiles([file], { grep: '', minutes, silent: true })
    assert.ok(outcome.at === 'ran')
    return outcome
  }

  it('counts what passed, failed and is pending', async () => {
    const got = await run(
      `describe('a', () => { it('b', () => {}); it('c', () => { throw new Error('d') }); it('e') })`,
    )
    assert.equal(got.passed, 1)
    assert.deepEqual(
      got.failed.map(({ title, message }) => ({ title, message })),
      [{ title: 'a c', message: 'd' }],
    )
    assert.deepEqual(
      got.pending.map(({ title }) => title),
      ['a e'],
    )
    assert.deepEqual(got.trouble, [])
  })

  it('knows why a test that needs something did not run', async () => {
    const needs = join(import.meta.dirname, '../needs.ts')
    const got = await run(`import { needs } from '${needs}'
      describe('a', function () { needs(this, 'peer:unknown'); it('b', () => {}) })`)
    assert.deepEqual(
      got.pending.map(({ notRun }) => notRun),
      [{ lacking: 'peer:unknown', reason: 'nothing is known about peer:unknown' }],
    )
  })

  it('is the same where two processes share the files', async () => {
    const files = ['a', 'b', 'c'].map((name) => {
      const file = join(folder, `${name}.test.ts`)
      writeFileSync(
        file,
        `it('${name} well', () => {}); it('${name} bad', () => { throw new Error('d') }); it('${name} later')`,
      )
      return file
    })
    const outcome = await runFiles(files, { grep: '', minutes: 1, silent: true, processes: 2 })
    assert.ok(outcome.at === 'ran')
    const titles = (list: readonly { title: string }[]) => list.map(({ title }) => title).sort()
    assert.deepEqual(
      [outcome.passed, titles(outcome.failed), titles(outcome.pending), outcome.trouble],
      [3, ['a bad', 'b bad', 'c bad'], ['a later', 'b later', 'c later'], []],
    )
  })

  // Each mocha that stays hands a rejection that is handled late to all others: 2^files calls.
  it('leaves no listener of one file to the next', async () => {
    const files = ['a', 'b', 'c'].map((name) => {
      const file = join(folder, `${name}.test.ts`)
      const one = `if (process.listenerCount('unhandledRejection') !== 1) throw new Error('another one listens')`
      writeFileSync(file, `it('${name}', () => { ${one} })`)
      return file
    })
    const outcome = await runFiles(files, { grep: '', minutes: 1, silent: true, processes: 2 })
    assert.ok(outcome.at === 'ran')
    assert.deepEqual([outcome.passed, outcome.failed, outcome.trouble], [3, [], []])
  })

  it('goes on in the other process where one has a long file', async () => {
    const told = join(folder, 'told')
    const write = (name: string, source: string) => {
      const file = join(folder, `${name}.test.ts`)
      writeFileSync(file, `import { appendFileSync, readFileSync } from 'node:fs'\n${source}`)
      return file
    }
    const tell = (word: string) => `it('${word}', () => appendFileSync('${told}', '${word}\\n'))`
    // Ends only when the two behind it have run, and each of those is done once.
    const first = write(
      'first',
      `it('first', (done) => {
        const look = setInterval(() => {
          if (readFileSync('${told}', { encoding: 'utf8', flag: 'a+' }) !== 'second\\nthird\\n') return
          clearInterval(look)
          done()
        }, 20)
      })`,
    )
    const files = [first, write('second', tell('second')), write('third', tell('third'))]
    const outcome = await runFiles(files, { grep: '', minutes: 1, silent: true, processes: 2 })
    assert.ok(outcome.at === 'ran')
    assert.deepEqual([outcome.passed, outcome.failed, outcome.trouble], [3, [], []])
  })

  it('reports a file that does not load', async () => {
    const file = join(folder, 'case.test.ts')
    assert.deepEqual((await run(`throw new Error('x')`)).trouble, [
      `the test process ended with exit code 1, last begun: the loading of ${file}`,
    ])
  })

  it('shows nothing, and takes no processor from others, until these have ended', async () => {
    const file = join(folder, 'case.test.ts')
    const told = join(folder, 'priority')
    writeFileSync(
      file,
      `import { writeFileSync } from 'node:fs'
      import { getPriority } from 'node:os'
      it('a', () => writeFileSync('${told}', String(getPriority())))`,
    )
    let othersHaveEnded = () => {}
    const besideOthersUntil = new Promise<void>((resolve) => {
      othersHaveEnded = resolve
    })
    let ended = false
    const run = runFiles([file], { grep: '', minutes: 1, silent: true, besideOthersUntil }).finally(() => {
      ended = true
    })
    await until(20_000, 'it has run', async () => assert.equal(readFileSync(told, 'utf8'), '19'))
    assert.equal(ended, false)
    othersHaveEnded()
    const outcome = await run
    assert.ok(outcome.at === 'ran')
    assert.deepEqual([outcome.passed, outcome.trouble], [1, []])
  })

  it('measures the files', async () => {
    const { seconds, files } = await run(`describe('a', () => it('b', (done) => { setTimeout(done, 300) }))`)
    const [one] = files
    assert.equal(one?.file, join(folder, 'case.test.ts'))
    assert.ok(one.seconds >= 0.3 && one.seconds < seconds, `${one.seconds} of ${seconds} s`)
  })

  it('keeps what passed before the process died', async () => {
    const got = await run(`it('a', () => {}); it('b', () => process.kill(process.pid, 'SIGKILL'))`)
    assert.deepEqual([got.passed, got.trouble], [1, ['the test process ended with SIGKILL, last begun: b']])
  })

  it('ends a test that never ends', async () => {
    const got = await run(`it('a', () => { for (;;); })`, 0.2)
    assert.deepEqual(got.trouble, ['the test process was killed: not done after 0.2 min, last begun: a'])
  })

  it('fails a test file that leaves something open', async () => {
    const got = await run(`it('a', () => { setInterval(() => {}, 1000) })`)
    assert.match(got.trouble.join(), /left something open: .*Timeout/)
  })
})
