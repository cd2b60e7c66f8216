import assert from 'node:assert/strict'
import { ConfigError } from '../../lib/errors.ts'
import { Secret } from '../../lib/log.ts'
import { type EtcdAccess, parseEndpoints } from '../../subnet/etcd/endpoints.ts'
import { joinKey, keysBelow } from '../../subnet/etcd/key-range.ts'

const access = (endpoints: string, more: Partial<EtcdAccess> = {}): EtcdAccess => ({
  endpoints: endpoints.split(','),
  caFile: '',
  certFile: '',
  keyFile: '',
  username: '',
  password: new Secret(''),
  requireTls: false,
  authorities: { file: '', directories: '' },
  ...more,
})
const ca = { caFile: '/ca' }

describe('parseEndpoints', () => {
  const good: readonly [EtcdAccess, string, number][] = [
    [access('http://127.0.0.1:4001,http://127.0.0.1:2379'), 'http 127.0.0.1:4001, http 127.0.0.1:2379', 0],
    [access(' http://10.0.0.1:2379/ '), 'http 10.0.0.1:2379', 1],
    [access('10.0.0.1:2379,10.0.0.2:2379'), 'http 10.0.0.1:2379, http 10.0.0.2:2379', 2],
    [access('10.0.0.1:2379', ca), 'https 10.0.0.1:2379', 0],
    [access('https://etcd.example'), 'https etcd.example:443', 0],
    [access('https://[fd00::1]:2379', ca), 'https [fd00::1]:2379', 0],
    [access('http://[::1]:2379', { requireTls: true }), 'http [::1]:2379', 0],
    [
      access('http://localhost:2379,http://127.9.9.9:1', { requireTls: true }),
      'http localhost:2379, http 127.9.9.9:1',
      0,
    ],
    // As etcd's own client reads them, with flannel.
    [access('http://127.0.0.1:2379/v2'), 'http 127.0.0.1:2379', 0],
    [access('HTTP://127.0.0.1:2379,,'), 'http 127.0.0.1:2379', 0],
    [access('[fd00::1]:2379', ca), 'https [fd00::1]:2379', 0],
    [access('unix:///run/etcd.sock', { requireTls: true }), 'http unix:/run/etcd.sock', 0],
    [access('unix:/run/etcd.sock,unix://client:1'), 'http unix:/run/etcd.sock, http unix:client:1', 0],
    [access('unixs:///run/etcd.sock'), 'https unix:/run/etcd.sock', 0],
    [access('unix:///run/etcd.sock', ca), 'https unix:/run/etcd.sock', 0],
    [access('https://a:1', { certFile: '/c', keyFile: '/k' }), 'https a:1', 0],
  ]
  for (const [given, expected, warnings] of good) {
    it(`reads ${given.endpoints.join()} as ${expected}`, () => {
      const parsed = parseEndpoints(given)
      assert.equal(parsed.endpoints.map((e) => `${e.secure ? 'https' : 'http'} ${e.authority}`).join(', '), expected)
      assert.equal(parsed.warnings.length, warnings)
    })
  }

  const bad: readonly [string, EtcdAccess, RegExp][] = [
    ['nothing', access(''), /at least one/],
    ['another scheme', access('ftp://a:1'), /HOST:PORT/],
    ['a query', access('http://a:1/?b'), /HOST:PORT/],
    ['a socket without a path', access('unix://'), /HOST:PORT/],
    ['no host', access('http://'), /HOST:PORT/],
    ['http beside a CA', access('http://127.0.0.1:2379', ca), /must be https where.*127\.0\.0\.1:2379/],
    ['http beside a certificate', access('http://a:1', { certFile: '/c', keyFile: '/k' }), /must be https/],
    [
      'http where TLS is required',
      access('http://10.0.0.1:2379', { requireTls: true }),
      /etcd-require-tls.*10\.0\.0\.1/,
    ],
    ['a certificate without key', access('https://a:1', { certFile: '/c' }), /together with etcd-keyfile/],
    ['a key without certificate', access('https://a:1', { keyFile: '/k' }), /together with etcd-keyfile/],
  ]
  for (const [what, given, text] of bad) {
    it(`refuses ${what}`, () => {
      assert.throws(
        () => parseEndpoints(given),
        (error) => error instanceof ConfigError && text.test(error.message),
      )
    })
  }

  it('never repeats a password that stands in an endpoint', () => {
    assert.throws(
      () => parseEndpoints(access('http://user:hunter2@10.0.0.1:2379')),
      (error) => error instanceof ConfigError && !error.message.includes('hunter2'),
    )
  })
})

describe('keys of etcd', () => {
  const joined: readonly [string, string][] = [
    ['/coreos.com/network', '/coreos.com/network/config'],
    ['/coreos.com/network/', '/coreos.com/network/config'],
    ['//coreos.com//network//', '/coreos.com/network/config'],
    ['coreos.com/network', 'coreos.com/network/config'],
    ['', 'config'],
  ]
  for (const [prefix, expected] of joined)
    it(`${prefix} joined like a path`, () => assert.equal(joinKey(prefix, 'config'), expected))

  it('below a prefix end before the next character', () => {
    const { key, end } = keysBelow('/a/subnets/')
    assert.deepEqual([String(key), String(end)], ['/a/subnets/', '/a/subnets0'])
  })
})
