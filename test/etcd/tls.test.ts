import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type TLSSocket } from 'node:tls'
import { createLogger } from '../../lib/log.ts'
import type { EtcdAccess } from '../../subnet/etcd/endpoints.ts'
import type { StoreHealth } from '../../subnet/types.ts'
import { attrs, hints } from '../conformance/lease-store.ts'
import { until } from '../until.ts'
import { Certificates } from './certificates.ts'
import { EtcdServer } from './etcd-server.ts'
import { access, Daemons } from './world.ts'

let certificates: Certificates
const at = (name: string) => certificates.at(name)

describe('etcd over TLS (row 26)', function () {
  this.timeout(90_000)
  let server: EtcdServer | undefined
  let daemons: Daemons

  before(async () => {
    certificates = new Certificates(await mkdtemp(join(tmpdir(), 'flannel-tls-')))
    const ca = 'ca'
    await Promise.all([certificates.authority(ca), certificates.authority('other-ca')])
    await certificates.certificate('server', { ca, alternative: 'IP:127.0.0.1,DNS:localhost' })
    await certificates.certificate('expired', { ca, alternative: 'IP:127.0.0.1', days: -1 })
    await certificates.certificate('elsewhere', { ca, alternative: 'DNS:elsewhere.example' })
    const alternative = 'DNS:client'
    await certificates.certificate('client', { ca, alternative })
    await certificates.certificate('old-client', { ca, alternative, days: -1 })
    await certificates.certificate('foreign-client', { ca: 'other-ca', alternative })
  })
  after(async () => {
    await rm(certificates.folder, { recursive: true, force: true })
  })
  beforeEach(() => {
    daemons = new Daemons()
  })
  afterEach(async () => {
    await daemons.close()
    await server?.close()
  })

  async function serve(name: string, clients = false): Promise<string> {
    const need = { ca: at('ca.crt'), cert: at('client.crt'), key: at('client.key') }
    const secure = { cert: at(`${name}.crt`), key: at(`${name}.key`), ...(clients ? { clients: need } : {}) }
    server = await EtcdServer.start({ secure })
    return server.url
  }

  async function healthWith(url: string, tls: Partial<EtcdAccess>): Promise<StoreHealth> {
    const store = daemons.store(daemons.client(access([url], tls)))
    for await (const health of store.health.watch(AbortSignal.timeout(30_000))) {
      if (health.up || health.error !== undefined) return health
    }
    assert.fail('no health')
  }

  it('needs no more than a CA', async () => {
    const url = await serve('server')
    const store = daemons.store(daemons.client(access([url], { caFile: at('ca.crt') })))
    assert.match((await store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)).lease.id, /^10\.5/)
  })

  it('shows a client certificate', async () => {
    const url = await serve('server', true)
    const client = { certFile: at('client.crt'), keyFile: at('client.key') }
    assert.equal((await healthWith(url, { caFile: at('ca.crt'), ...client })).up, true)
    const { up, error } = await healthWith(url, { caFile: at('ca.crt') })
    assert.equal(up, false)
    assert.match(error ?? '', /asks for a client certificate.*give --etcd-certfile and --etcd-keyfile$/)
  })

  const useClient = async (cert: string, key = cert) => {
    await copyFile(at(`${cert}.crt`), at('used-client.crt'))
    await copyFile(at(`${key}.key`), at('used-client.key'))
  }
  const unusable: readonly [string, [cert: string, key?: string], RegExp, number][] = [
    [
      'that has run out',
      ['old-client'],
      /: the client certificate \S+used-client\.crt has expired: it was valid until 20\S+Z$/,
      1,
    ],
    [
      'of another CA',
      ['foreign-client'],
      /: etcd refuses the client certificate \S+used-client\.crt, issued by "CN=other-ca" \([a-z ]+\)$/,
      1,
    ],
    // No connection was tried, so there is none to give up.
    [
      'without its key',
      ['client', 'server'],
      /^the client certificate \S+client\.crt does not belong to the key \S+client\.key$/,
      0,
    ],
  ]
  for (const [what, files, text, told] of unusable) {
    it(`names a client certificate ${what}, tries on, and uses the right one without a restart`, async () => {
      const url = await serve('server', true)
      await useClient(...files)
      const lines: string[] = []
      const log = createLogger((_severity, message) => void lines.push(message))
      const client = { certFile: at('used-client.crt'), keyFile: at('used-client.key') }
      const store = daemons.store(daemons.client(access([url], { caFile: at('ca.crt'), ...client }), log), {}, log)
      const acquiring = store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
      let faults = 0
      for await (const { up, error } of store.health.watch(AbortSignal.timeout(20_000))) {
        assert.equal(up, false)
        if (error === undefined) continue
        assert.match(error, text)
        faults += 1
        if (faults === 5) break
      }
      await useClient('client')
      assert.match((await acquiring).lease.id, /^10\.5/)
      for await (const { up, error } of store.health.watch(AbortSignal.timeout(20_000))) {
        if (up) break
        assert.match(error ?? '', text)
      }
      // As often as it was tried, it is one line.
      const given = lines.filter((line) => line === 'etcd connection given up')
      assert.equal(given.length, told, lines.join('; '))
    })
  }

  const refused: readonly [string, string, string, RegExp][] = [
    ['a server of another CA', 'server', 'other-ca', /unable to (verify|get)|self.signed/i],
    ['a server whose certificate has run out', 'expired', 'ca', /certificate has expired/],
    ['a server under another name', 'elsewhere', 'ca', /127\.0\.0\.1.*(not|altnames)/i],
  ]
  for (const [what, name, ca, text] of refused) {
    it(`refuses ${what} in clear text`, async () => {
      const { up, error } = await healthWith(await serve(name), { caFile: at(`${ca}.crt`) })
      assert.equal(up, false)
      assert.match(error ?? '', text)
      assert.ok(error?.includes(`etcd's certificate is not accepted, judged by ${at(`${ca}.crt`)}: `), error)
      assert.doesNotMatch(error ?? '', /\n|Resolution note|UNAVAILABLE/)
    })
  }

  it('believes the system\u2019s authorities where no CA is given, with a client certificate and without', async () => {
    const authorities = { file: at('ca.crt'), directories: '/nowhere' }
    const url = await serve('server', true)
    const client = { certFile: at('client.crt'), keyFile: at('client.key') }
    assert.equal((await healthWith(url, { authorities, ...client })).up, true)
    await server?.close()
    assert.equal((await healthWith(await serve('server'), { authorities })).up, true)
    const nobody = { file: '/nowhere', directories: '/nowhere' }
    assert.match(
      (await healthWith(server?.url ?? '', { authorities: nobody })).error ?? '',
      /no certificate authorities/,
    )
  })

  it('refuses an unknown CA when only the system\u2019s are given', async () => {
    assert.equal((await healthWith(await serve('server'), {})).up, false)
  })

  // An address is no server name (RFC 6066, section 3); Node warns of one, and servers may refuse it.
  for (const [host, sent] of [
    ['127.0.0.1', false],
    ['localhost', 'localhost'],
  ] as const) {
    it(`asks a server at ${host} for ${sent === false ? 'no name' : 'its name'}, without a warning of Node`, async () => {
      const names: (string | false | null | undefined)[] = []
      const warnings: Error[] = []
      const warned = (warning: Error) => void warnings.push(warning)
      process.on('warning', warned)
      const secure = { cert: readFileSync(at('server.crt')), key: readFileSync(at('server.key')) }
      const listener = createServer({ ...secure, ALPNProtocols: ['h2'] }, (socket) => {
        names.push((socket as TLSSocket & { servername?: string | false }).servername)
        socket.destroy()
      })
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
      const { port } = listener.address() as AddressInfo
      daemons.store(daemons.client(access([`https://${host}:${port}`], { caFile: at('ca.crt') })))
      try {
        await until(20_000, 'somebody asks', async () => assert.notEqual(names.length, 0))
        await new Promise((resolve) => setImmediate(resolve))
      } finally {
        listener.close()
        process.off('warning', warned)
      }
      assert.equal(names[0], sent)
      assert.deepEqual(warnings, [])
    })
  }

  it('uses files that were put right, without a restart', async () => {
    const url = await serve('server')
    const caFile = at('used.crt')
    const store = daemons.store(daemons.client(access([url], { caFile })))
    const acquiring = store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    for await (const { error } of store.health.watch(AbortSignal.timeout(30_000))) {
      if (error?.includes('ENOENT')) break
    }
    await copyFile(at('other-ca.crt'), caFile)
    for await (const { error } of store.health.watch(AbortSignal.timeout(30_000))) {
      if (error !== undefined && !error.includes('ENOENT')) break
    }
    await copyFile(at('ca.crt'), caFile)
    assert.match((await acquiring).lease.id, /^10\.5/)
  })

  it('connects anew when files were rotated under a live connection', async () => {
    const url = await serve('server')
    const caFile = at('rotated.crt')
    await copyFile(at('ca.crt'), caFile)
    const store = daemons.store(daemons.client(access([url], { caFile })), { checkEveryMs: 200 })
    await store.acquire(attrs('n1', '192.168.64.1'), hints, daemons.signal)
    await copyFile(at('other-ca.crt'), caFile)
    for await (const { up } of store.health.watch(AbortSignal.timeout(30_000))) if (!up) return
    assert.fail('the old files are still in use')
  })
})
