import assert from 'node:assert/strict'
import { GuardKernel } from '../../../kernel/rules/guard-kernel.ts'
import type { OpError } from '../../../kernel/table.ts'

type Verdict = OpError | undefined

const refused: OpError = { code: 'EPERM', message: 'not permitted' }
const present: OpError = { code: 'EEXIST', message: 'is there' }
const lost: OpError = { code: 'ENOBUFS', message: 'the answer was lost' }

/** What is told of a transaction of two messages for which the kernel has these verdicts, those on its bounds included. */
async function told(...verdicts: readonly Verdict[]): Promise<readonly string[]> {
  const channel = { exchange: async () => verdicts }
  const guard = new GuardKernel({ netfilter: {} as never, channel: channel as never })
  const own = await guard.transact([new Uint8Array(4), new Uint8Array(4)])
  return own.map((verdict) => verdict?.code ?? 'ok')
}

describe('a transaction of the guard', () => {
  it('has a verdict on each of its messages', async () => {
    assert.deepEqual(await told(undefined, undefined, undefined, undefined), ['ok', 'ok'])
    assert.deepEqual(await told(undefined, present, undefined, undefined), ['EEXIST', 'ok'])
  })

  it('does not ask for the verdict on its begin', async () => {
    assert.deepEqual(await told(lost, lost, undefined, lost), ['ENOBUFS', 'ok'])
  })

  it('is refused as a whole where its begin is, whatever is said of its parts', async () => {
    assert.deepEqual(await told(refused, lost, lost, lost), ['EPERM', 'EPERM'])
    assert.deepEqual(await told(refused, undefined, undefined, undefined), ['EPERM', 'EPERM'])
    assert.deepEqual(await told(refused, undefined, present, undefined), ['EPERM', 'EEXIST'])
  })

  it('is refused where there is no nf_tables', async () => {
    const guard = new GuardKernel({ netfilter: {} as never, channel: undefined })
    assert.equal((await guard.transact([new Uint8Array(4)]))[0]?.code, 'EPROTONOSUPPORT')
  })
})
