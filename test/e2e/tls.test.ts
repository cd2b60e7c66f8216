import assert from 'node:assert/strict'
import { copyFile } from 'node:fs/promises'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { etcdEndpoints, etcdName, TlsEtcd } from './tls-etcd.ts'
import {
  assertSame,
  flanneld,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  status,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

/** Fault row 26: what cannot be trusted is refused in words, used as soon as it is put right, and never replaced by http. */
describe('etcd over TLS', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let etcd: TlsEtcd
  const at = (file: string) => etcd.at(file)

  before(async () => {
    const alternative = etcdName
    etcd = await TlsEtcd.create([{ name: 'ca' }, { name: 'new-ca' }], {
      good: { ca: 'ca', alternative },
      expired: { ca: 'ca', alternative, days: -1 },
      elsewhere: { ca: 'ca', alternative: 'DNS:etcd.example' },
      new: { ca: 'new-ca', alternative },
    })
    lab = await Lab.create({ segments: oneSegment(1), etcd: etcd.args, netConf: vxlanFrom100 })
    host = lab.host('h1')
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
    await etcd?.remove()
  })

  const cut = async () => {
    await lab.etcd.crash()
    await lab.etcd.start()
  }
  const refused = async (why: RegExp) =>
    await until(15_000, `refused: ${why}`, async () => {
      const { datastore, conditions } = await status(host)
      assert.equal(datastore.up, false)
      const down = conditions.find(({ code }: { code: string }) => code === 'datastore-down')
      assert.match(down?.text ?? '', why)
    })
  const up = async () =>
    await until(20_000, 'etcd is followed', async () => assert.equal((await status(host)).datastore.up, true))

  it('is believed only by a certificate of the CA, for the host, in its time; files put right are used without a restart (row 26)', async () => {
    await copyFile(at('new-ca.crt'), at('trusted.crt'))
    await startDaemon(host, { etcdEndpoints, args: [`--etcd-cafile=${at('trusted.crt')}`] })
    await refused(/unable to verify|self.signed|unable to get/)
    assert.equal((await status(host)).ready, false)
    await copyFile(at('ca.crt'), at('trusted.crt'))
    await ready(host, 20_000)
    const before = await networkOf(host)

    for (const [name, why] of [
      ['expired', /certificate has expired/],
      ['elsewhere', /192\.0\.2\.10.*(altnames|not in the cert)/i],
      ['new', /unable to verify|self.signed|unable to get/],
    ] as const) {
      await etcd.serve(name)
      await cut()
      await refused(why)
      const { ready: isReady, state } = await status(host)
      assert.deepEqual([isReady, state], [true, 'degraded'])
      assertSame(await networkOf(host), before)
      // The one that is served from now on is right; or, the last, the CA's own rotation has reached this host.
      if (name === 'new') await copyFile(at('new-ca.crt'), at('trusted.crt'))
      else await etcd.serve('good')
      await up()
    }
    await lab.etcd.put(...strangerLease(1))
    await until(2_000, 'the new connection tells of changes', async () => {
      assert.match((await networkOf(host)).join('\n'), /10\.5\.1\.0\/24 (nhid \d+ )?via/)
    })
    assert.doesNotMatch((await host.daemon?.logText()) ?? '', /DeprecationWarning|http:\/\//)
  })

  it('is never asked by http where a CA is given: 78', async () => {
    await host.daemon?.stop()
    const options = { etcdEndpoints: 'http://192.0.2.10:2379', args: [`--etcd-cafile=${at('ca.crt')}`] }
    const { code, stderr } = await flanneld(host, [], options)
    assert.equal(code, 78)
    assert.match(stderr, /etcd-endpoints: must be https where a certificate or a CA is configured.*192\.0\.2\.10:2379/)
  })
  it('is believed by the authorities of the system where no CA is given, and found behind an endpoint that is silent', async () => {
    await etcd.serve('new')
    await cut()
    const endpoints = `https://192.0.2.99:2379,${etcdEndpoints}`
    const env = { SSL_CERT_FILE: at('new-ca.crt'), SSL_CERT_DIR: etcd.folder }
    await startDaemon(host, { etcdEndpoints: endpoints, env })
    // Promised is a second; the one that is silent was waited for three.
    await until(1_500, 'ready', async () => assert.equal((await status(host)).ready, true))
    assert.equal((await status(host)).datastore.endpoint, '192.0.2.10:2379')
    await host.daemon?.stop()
    await startDaemon(host, { etcdEndpoints, env: { ...env, SSL_CERT_FILE: at('ca.crt'), SSL_CERT_DIR: '/nowhere' } })
    await refused(/judged by the system's authorities: .*(unable to verify|self.signed|unable to get)/)
    await host.daemon?.stop()
  })
})
