import assert from 'node:assert/strict'
import { chmod } from 'node:fs/promises'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { etcdEndpoints, etcdName, TlsEtcd } from './tls-etcd.ts'
import { flanneld, logsInFailure, oneSegment, ready, startDaemon, vxlan } from './world.ts'

interface Line {
  readonly check: string
  readonly level: string
  readonly text: string
  readonly remedy: string
}

/** An etcd that lets in only who has a certificate of its authority, as kubeadm and most guides set it up. */
describe('check over TLS', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let host: Host
  let etcd: TlsEtcd
  const at = (file: string) => etcd.at(file)

  before(async () => {
    const alternative = etcdName
    const authorities = ['ca', 'other-ca'].map((name) => ({ name, days: 365 }))
    etcd = await TlsEtcd.create(authorities, {
      server: { ca: 'ca', alternative },
      elsewhere: { ca: 'ca', alternative: 'DNS:etcd.example' },
      client: { ca: 'ca', alternative, days: 365 },
      expiring: { ca: 'ca', alternative },
      expired: { ca: 'ca', alternative, days: -1 },
      stranger: { ca: 'other-ca', alternative, days: 365 },
    })
    const clients = ['--client-cert-auth', `--trusted-ca-file=${at('ca.crt')}`]
    lab = await Lab.create({ segments: oneSegment(1), etcd: [...etcd.args, ...clients], netConf: vxlan })
    host = lab.host('h1')
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => {
    await lab?.close()
    await etcd?.remove()
  })

  const flags = ({ ca = 'ca.crt', cert = 'client.crt', key = 'client.key' } = {}) => [
    ...(ca === '' ? [] : [`--etcd-cafile=${at(ca)}`]),
    ...(cert === '' ? [] : [`--etcd-certfile=${at(cert)}`]),
    ...(key === '' ? [] : [`--etcd-keyfile=${at(key)}`]),
  ]
  /** Exit code, and what is not ok; Docker's lines are the machine's. */
  const check = async (args: readonly string[]) => {
    const { code, stdout, stderr } = await flanneld(host, ['check', '-o', 'json'], { etcdEndpoints, args })
    assert.equal(stderr, '')
    const lines: readonly Line[] = JSON.parse(stdout).checks
    const wrong = lines.filter(({ level, check: name }) => level !== 'ok' && !name.startsWith('docker'))
    return { code, lines, wrong: wrong.map((line) => `${line.level} ${line.check}: ${line.text} -> ${line.remedy}`) }
  }
  const finds = async (args: readonly string[], ...patterns: readonly RegExp[]) => {
    const { code, wrong } = await check(args)
    assert.equal(wrong.length, patterns.length, wrong.join('\n'))
    for (const [n, pattern] of patterns.entries()) assert.match(wrong[n] ?? '', pattern)
    assert.ok((code ?? 0) >= (wrong.some((line) => line.startsWith('fail')) ? 2 : 1))
  }

  it('finds nothing where the files are right, before a start and beside the daemon', async () => {
    const first = await check(flags())
    assert.deepEqual(first.wrong, [])
    const said = (name: string) => first.lines.find(({ check: other }) => other === name)?.text ?? ''
    assert.match(said('etcd'), /^answers: 192\.0\.2\.10:2379 \(3\.\d+\.\d+\)$/)
    assert.match(said('etcd-permission'), /may be written/)
    assert.match(said('clock'), /agrees/)
    assert.match(said('tls-files'), /can be used/)
    await startDaemon(host, { etcdEndpoints, args: flags() })
    await ready(host)
    const beside = await check(flags())
    assert.deepEqual(beside.wrong, [])
    await host.daemon?.stop()
  })

  it('finds an authority that did not sign the certificate of etcd', async () => {
    await finds(
      flags({ ca: 'other-ca.crt' }),
      /^fail etcd: .*192\.0\.2\.10:2379: etcd's certificate is not accepted, judged by \S+other-ca\.crt: unable to verify .* -> the text says which file/,
    )
  })

  it('finds that etcd is another host by its certificate', async () => {
    await etcd.serve('elsewhere')
    try {
      await finds(flags(), /^fail etcd: .*certificate is not accepted, .*IP: 192\.0\.2\.10 is not in the cert's list/)
    } finally {
      await etcd.serve('server')
    }
  })

  it('finds that etcd wants a certificate, and has none or a stranger’s', async () => {
    await finds(flags({ cert: '', key: '' }), /^fail etcd: .*asks for a client certificate .*: give --etcd-certfile/)
    await finds(
      flags({ cert: 'stranger.crt', key: 'stranger.key' }),
      /^fail etcd: .*refuses the client certificate \S+stranger\.crt, issued by "CN=other-ca"/,
    )
  })

  it('finds files that are missing, that do not belong together, that are none, that all may read', async () => {
    const missing = (file: string) => new RegExp(`^fail tls-files: .*ENOENT.*/${file}' -> name files that are there`)
    await finds(flags({ ca: 'no-ca.crt' }), missing('no-ca.crt'))
    await finds(flags({ cert: 'no.crt' }), missing('no.crt'))
    await finds(flags({ key: 'no.key' }), missing('no.key'))
    await finds(flags({ key: '' }), /^fail tls-files: etcd-certfile: must be given together with etcd-keyfile -> name/)
    await finds(
      flags({ key: 'stranger.key' }),
      /^fail tls-files: the certificate \S+client\.crt does not belong to the key \S+stranger\.key/,
    )
    await finds(flags({ cert: 'client.key' }), /^fail tls-files: \S+client\.key is no PEM file of that kind/)
    await finds(flags({ key: 'client.crt' }), /^fail tls-files: \S+client\.crt is no PEM file of that kind/)
    await finds(flags({ ca: 'ca.key' }), /^fail tls-files: \S+ca\.key is no PEM file of that kind/)
    await chmod(at('client.key'), 0o644)
    await finds(flags(), /^warn tls-files: every user of this host may read the key \S+client\.key -> chmod 600 /)
    await chmod(at('client.key'), 0o600)
  })

  it('finds endpoints by http where a certificate is to be used', async () => {
    const options = { etcdEndpoints: 'http://192.0.2.10:2379', args: flags() }
    const { code, stdout } = await flanneld(host, ['check'], options)
    assert.match(stdout, /^fail {2}etcd .*must be https where a certificate or a CA is configured/m)
    assert.match(stdout, /-> correct --etcd-endpoints$/m)
    assert.equal(code, 2)
  })

  it('finds certificates that have run out, or soon will', async () => {
    await finds(
      flags({ cert: 'expired.crt', key: 'expired.key' }),
      /^fail tls-files: .*expired\.crt has expired on .* -> put a new certificate at .*; it is used without a restart/,
      /^fail etcd: .*the client certificate \S+expired\.crt has expired/,
    )
    await finds(
      flags({ cert: 'expiring.crt', key: 'expiring.key' }),
      /^warn tls-files: .*expiring\.crt expires on .* -> put a new certificate at/,
    )
  })
})
