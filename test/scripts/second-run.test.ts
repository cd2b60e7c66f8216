import assert from 'node:assert/strict'
import { runFailedAgain } from '../../scripts/test/second-run.ts'
import type { Outcome } from '../../scripts/test/summary.ts'

const failure = (title: string) => ({ title, message: 'late', file: `${title}.test.ts` })
const ran = (failed: readonly string[], parts: Partial<Outcome & { at: 'ran' }> = {}): Outcome => ({
  at: 'ran',
  passed: 9,
  failed: failed.map(failure),
  shaky: [],
  pending: [],
  trouble: [],
  seconds: 0,
  files: [],
  ...parts,
})

describe('the second run of what has failed', () => {
  let asked: [string, readonly string[]][]
  const judge = async (first: Outcome, second: Outcome = ran([])) => {
    asked = []
    const judged = await runFailedAgain(new Map([['e2e', first]]), async (suite, files) => {
      asked.push([suite, files])
      return second
    })
    const outcome = judged.get('e2e')
    if (outcome?.at !== 'ran') return assert.fail()
    return [outcome.failed, outcome.shaky].map((list) => list.map(({ title }) => title))
  }

  it('calls shaky what passes then', async () => {
    assert.deepEqual(await judge(ran(['a', 'b']), ran(['b'])), [['b'], ['a']])
    assert.deepEqual(asked, [['e2e', ['a.test.ts', 'b.test.ts']]])
  })

  it('is none where nothing failed, where much did, and where a process died', async () => {
    for (const first of [ran([]), ran(['a', 'b', 'c', 'd']), ran(['a'], { trouble: ['was killed'] })])
      await judge(first)
    assert.deepEqual(asked, [])
  })

  it('goes by files: what fails after another in one is no more than that', async () => {
    const cascade = ran([], { failed: ['a', 'b', 'c', 'd'].map((title) => ({ ...failure(title), file: 'x.test.ts' })) })
    assert.deepEqual(await judge(cascade), [[], ['a', 'b', 'c', 'd']])
    assert.deepEqual(asked, [['e2e', ['x.test.ts']]])
  })

  it('counts what fails then only, and believes no run in which nothing passed', async () => {
    assert.deepEqual(await judge(ran(['a']), ran(['c'])), [['c'], ['a']])
    assert.deepEqual(await judge(ran(['a']), ran([], { passed: 0 })), [['a'], []])
    assert.deepEqual(await judge(ran(['a']), ran([], { trouble: ['was killed'] })), [['a'], []])
    assert.deepEqual(await judge(ran(['a']), { at: 'not run', reason: 'no root' }), [['a'], []])
  })
})
