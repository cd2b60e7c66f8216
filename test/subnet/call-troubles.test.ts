import assert from 'node:assert/strict'
import { CallFailed, callError } from '../../subnet/etcd/errors.ts'
import { Login } from '../../subnet/etcd/login.ts'
import { TryLimit } from '../../subnet/etcd/try-limit.ts'

const grpcError = (code: number, details: string) =>
  Object.assign(new Error(`${code} NAME: ${details}`), { code, details })

// Codes and texts of etcd 3.4 to 3.7 (api/v3rpc/rpctypes/error.go), of its clients' connections, and of proxies between.
describe('callError', () => {
  const cases: readonly [code: number, details: string, expected: string][] = [
    [16, 'etcdserver: invalid auth token', 'login'],
    [3, 'etcdserver: revision of auth store is old', 'login'],
    [2, 'auth: revision in header is old', 'login'],
    [3, 'etcdserver: user name is empty', 'login'],
    [3, 'etcdserver: authentication failed, invalid user ID or password', 'refused'],
    [7, 'etcdserver: permission denied', 'refused'],
    [3, 'etcdserver: request is too large', 'refused'],
    [8, 'etcdserver: mvcc: database space exceeded', 'refused'],
    [8, 'etcdserver: too many requests', 'refused'],
    [12, 'unknown method Status', 'refused'],
    [4, 'Deadline exceeded after 3.000s', 'late'],
    [4, 'context deadline exceeded', 'late'],
    [14, 'etcdserver: no leader', 'unfit'],
    [14, 'etcdserver: leader changed', 'unfit'],
    [14, 'etcdserver: request timed out', 'unfit'],
    [14, 'etcdserver: rpc not supported for learner', 'unfit'],
    [9, 'etcdserver: rpc not supported for learner', 'unfit'],
    [15, 'etcdserver: corrupt cluster', 'unfit'],
    [14, 'No connection established. Last error: connect ECONNREFUSED 127.0.0.1:2379', 'broken'],
    [14, 'Connection dropped', 'broken'],
    [14, 'Received HTTP status code 502', 'broken'],
    [13, 'Received RST_STREAM with code 2', 'broken'],
    [1, 'Cancelled on client', 'broken'],
    [8, 'Bandwidth exhausted or memory limit exceeded', 'broken'],
    [8, 'Received message larger than max (5 vs. 4)', 'TooLarge'],
    [11, 'etcdserver: mvcc: required revision has been compacted', 'Compacted'],
    [5, 'etcdserver: requested lease not found', 'EtcdLeaseGone'],
  ]
  for (const [code, details, expected] of cases) {
    it(`takes ${code} "${details}" for ${expected}`, () => {
      const error = callError(grpcError(code, details))
      assert.equal(error instanceof CallFailed ? error.trouble : error.name, expected)
    })
  }
})

describe('TryLimit', () => {
  it('reaches an etcd that always takes 5 s, stays there, and is short again after short answers', () => {
    const limit = new TryLimit({ firstMs: 3000, mostMs: 24_000 })
    limit.late(3000)
    assert.equal(limit.ms, 6000)
    for (let calls = 0; calls < 5; calls += 1) limit.answered(5000)
    assert.equal(limit.ms, 6000)
    limit.answered(20)
    limit.answered(20)
    assert.equal(limit.ms, 3000)
  })

  it('is bounded, and grows once for tries that ran side by side', () => {
    const limit = new TryLimit({ firstMs: 3000, mostMs: 24_000 })
    for (const _try of [1, 2, 3]) limit.late(3000)
    assert.equal(limit.ms, 6000)
    for (let tries = 0; tries < 9; tries += 1) limit.late(limit.ms)
    assert.equal(limit.ms, 24_000)
  })
})

describe('Login', () => {
  let logins: number
  let valid: string
  let login: Login
  let refused: number
  const refusal = () => callError(grpcError(16, 'etcdserver: invalid auth token'))

  beforeEach(() => {
    logins = 0
    refused = 0
    valid = ''
    login = new Login(async () => {
      logins += 1
      valid = `token ${logins}`
      return valid
    })
  })
  const call = () =>
    login.use(async (token) => {
      if (token === valid) return 'answer'
      refused += 1
      throw refusal()
    })

  it('serves 120 calls in an hour with twelve logins, where tokens live five minutes', async () => {
    for (let minute = 0; minute < 60; minute += 1) {
      if (minute % 5 === 0) valid = 'expired'
      assert.deepEqual([await call(), await call()], ['answer', 'answer'])
    }
    assert.deepEqual([logins, refused], [12, 11])
  })

  it('logs in once for calls that are refused together', async () => {
    await call()
    valid = 'expired'
    await Promise.all([call(), call(), call()])
    assert.equal(logins, 2)
  })

  it('does not try for ever, and keeps no login that failed', async () => {
    await assert.rejects(
      login.use(async () => {
        refused += 1
        throw refusal()
      }),
    )
    assert.equal(refused, 2)
    const failing = new Login(async () => {
      logins += 1
      throw callError(grpcError(3, 'etcdserver: authentication failed, invalid user ID or password'))
    })
    logins = 0
    for (const _call of [1, 2])
      await assert.rejects(
        failing.use(async () => 'never'),
        /authentication failed/,
      )
    assert.equal(logins, 2)
  })
})
