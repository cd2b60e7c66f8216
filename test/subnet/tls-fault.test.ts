import assert from 'node:assert/strict'
import type { TlsFiles } from '../../subnet/etcd/endpoints.ts'
import { tlsFault, unusableFiles } from '../../subnet/etcd/tls-fault.ts'

const cert = Buffer.from('no certificate that could be read')
const shown: TlsFiles = { ca: cert, cert, key: cert, paths: { ca: '/e/ca.crt', cert: '/e/c.crt', key: '/e/c.key' } }
const bare: TlsFiles = { ca: undefined, cert: undefined, key: undefined, paths: { ca: '', cert: '', key: '' } }
const alert = (words: string, number: number) =>
  `14 UNAVAILABLE: No connection established. Last error: Error: 801C:error:0A000412:SSL routines:ssl3_read_bytes:${words}:` +
  `../deps/openssl/openssl/ssl/record/rec_layer_s3.c:1601:SSL alert number ${number}\n. Resolution note: `

// What a refused certificate becomes with a real etcd: test/etcd/tls.test.ts. These are the words of other servers and other versions of OpenSSL.
describe('tlsFault', () => {
  const cases: readonly [string, string, TlsFiles, string | undefined][] = [
    [
      'an alert',
      alert('sslv3 alert bad certificate', 42),
      shown,
      'etcd refuses the client certificate /e/c.crt (bad certificate)',
    ],
    [
      'of OpenSSL 3.2',
      alert('ssl/tls alert bad certificate', 42),
      shown,
      'etcd refuses the client certificate /e/c.crt (bad certificate)',
    ],
    [
      'of TLS 1.0',
      alert('tlsv1 alert unknown ca', 48),
      shown,
      'etcd refuses the client certificate /e/c.crt (unknown ca)',
    ],
    [
      'of TLS 1.3',
      alert('tlsv13 alert certificate required', 116),
      bare,
      'etcd asks for a client certificate (certificate required): give --etcd-certfile and --etcd-keyfile',
    ],
    ['another alert', alert('tlsv1 alert decode error', 50), shown, undefined],
    ['a reset', '14 UNAVAILABLE: read ECONNRESET', shown, undefined],
    ['nobody there', '14 UNAVAILABLE: connect ECONNREFUSED 127.0.0.1:2379', shown, undefined],
    [
      'a server that is not believed',
      '14 UNAVAILABLE: No connection established. Last error: Error: certificate has expired. Resolution note: ',
      shown,
      "etcd's certificate is not accepted, judged by /e/ca.crt: certificate has expired",
    ],
    [
      'one that the system does not know',
      '14 UNAVAILABLE: No connection established. Last error: unable to get local issuer certificate',
      bare,
      "etcd's certificate is not accepted, judged by the system's authorities: unable to get local issuer certificate",
    ],
  ]
  for (const [what, text, files, expected] of cases) {
    it(`${expected === undefined ? 'has nothing to say of' : 'names'} ${what}`, () => {
      assert.equal(tlsFault(text, files, 0), expected)
    })
  }

  it('names files that cannot be used at all', () => {
    assert.equal(
      unusableFiles('error:05800074:x509 certificate routines::key values mismatch', shown),
      'the client certificate /e/c.crt does not belong to the key /e/c.key',
    )
    const caOnly = { ...bare, paths: { ...bare.paths, ca: '/e/ca.crt' } }
    assert.equal(
      unusableFiles('PEM routines::no start line', caOnly),
      'the TLS files /e/ca.crt cannot be used: PEM routines::no start line',
    )
  })
})
