import assert from 'node:assert/strict'
import { givenSecrets, spokenLine } from '../../../subnet/kube/spoken-line.ts'

describe('a line that a program of the kubeconfig printed', () => {
  const left: readonly (readonly [text: string, said: string])[] = [
    ['no login\nsecond line', 'no login'],
    ['a\tb\u001b[31m', 'a b [31m'],
    ['/usr/lib/google-cloud-sdk/bin/gcloud: not found', '/usr/lib/google-cloud-sdk/bin/gcloud: not found'],
    ['cannot fetch token: 400 Bad Request', 'cannot fetch token: 400 Bad Request'],
    ['oauth2: cannot fetch token: invalid_grant', 'oauth2: cannot fetch token: invalid_grant'],
    ['token expired at 2026-11-29T10:00:00Z', 'token expired at 2026-11-29T10:00:00Z'],
    ['AADSTS700016: dial tcp 192.0.2.1:443', 'AADSTS700016: dial tcp 192.0.2.1:443'],
  ]
  for (const [text, said] of left)
    it(`is left as it is: ${JSON.stringify(text)}`, () => assert.equal(spokenLine(text, []), said))

  const redacted: readonly (readonly [text: string, said: string])[] = [
    ['bad eyJhbGciOiJSUzI1NiIsImtpZCI6 here', 'bad [redacted] here'],
    ['bad /abcDEFghiJKLmnoPQRstuVWXyz0123456789+A= here', 'bad [redacted] here'],
    ['bad /wJalrXUtnFEMI/K7MDENGbPxRfiCYzz1 here', 'bad [redacted] here'],
    ['bad a1B2c3D4e5F6g7 here', 'bad [redacted] here'],
    ['password=hunter was refused', 'password=[redacted] was refused'],
    ['Password: hunter', 'Password: [redacted]'],
    ['{"client_secret": "a b c"}', '{"client_secret": [redacted]}'],
    ['AWS_SECRET_ACCESS_KEY=abc', 'AWS_SECRET_ACCESS_KEY=[redacted]'],
    ['token: s3kr1t, sorry', 'token: [redacted], sorry'],
    ['Authorization: Bearer abc', 'Authorization: Bearer [redacted]'],
    ['GET https://me:hunter@192.0.2.1/x', 'GET https://[redacted]@192.0.2.1/x'],
  ]
  for (const [text, said] of redacted)
    it(`hides what could be a secret: ${JSON.stringify(text)}`, () => assert.equal(spokenLine(text, []), said))

  it('hides the variables of the program, and the arguments that are named as secrets', () => {
    const args = ['get', '--region', 'eu', '--client-secret', 'q w', '--token=zz', '--password', '']
    const known = givenSecrets({ VERBOSE: '1', KEYFILE: 'tiger-and-more', WORD: 'tiger-', PIN_TOKEN: 'p1' }, args)
    assert.deepEqual(known, ['tiger-and-more', 'tiger-', 'p1', 'q w', 'zz'])
    const said = spokenLine('get eu 1: tiger-and-more tiger- p1 q w zz', known)
    assert.equal(said, `get eu 1: ${Array(5).fill('[redacted]').join(' ')}`)
  })

  it('is no longer than 200 characters', () => {
    assert.equal(spokenLine('a '.repeat(900), []).length, 200)
    assert.equal(spokenLine(`a ${'password'.repeat(100_000)}`, []), 'a ')
  })
})
