import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { execPath } from 'node:process'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { controlPlane } from '../../lab/layout.ts'
import { needs } from '../needs.ts'
import { Kubernetes, nodeObject } from './kubernetes-world.ts'
import {
  assertSame,
  knowsPeers,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  status,
  until,
  vxlan,
} from './world.ts'

const nodes = '/api/v1/nodes'
const port = 8089
/** As a kube-proxy that comes later than the daemon; flannel's own gives up and is restarted. */
const LATE_MS = 15_000

/** Fault row 28, and `reliability.md` 3.6, on a real API server. */
describe('a Kubernetes API that cannot be reached', function () {
  needs(this, 'netns', 'etcd', 'peer:kube-apiserver')
  this.timeout(180_000)
  let lab: Lab
  let kubernetes: Kubernetes
  let args: readonly string[]
  let h1: Host
  let h2: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), etcd: false })
    kubernetes = await Kubernetes.start(lab)
    h1 = lab.host('h1')
    h2 = lab.host('h2')
    const health = ['--healthz-ip=127.0.0.1', `--healthz-port=${port}`]
    args = [...(await kubernetes.daemonArgs(vxlan)), ...health]
    for (const n of [1, 2]) await kubernetes.send(['POST', nodes, nodeObject(`h${n}`, `10.5.${n}.0/24`)])
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const start = (host: Host) => startDaemon(host, { args, env: { NODE_NAME: host.label } })
  const cut = (kind: 'unreachable' | 'blackhole') => h1.ip('route', 'add', kind, controlPlane.address)
  const joined = () => h1.ip('route', 'del', controlPlane.address)
  const isAlive = async (host: Host) => {
    const script = `fetch('http://127.0.0.1:${port}/livez').then((r) => process.stdout.write(String(r.status)))`
    const { stdout } = await host.exec([execPath, '-e', script])
    assert.equal(stdout, '200')
  }
  const says = (pattern: RegExp) =>
    until(30_000, `it says ${pattern}`, async () => {
      const { conditions } = await status(h1)
      assert.match(conditions.map((c: { code: string; text: string }) => `${c.code}: ${c.text}`).join('\n'), pattern)
    })

  for (const kind of ['unreachable', 'blackhole'] as const) {
    it(`is waited for at the first start, without an end of the process: ${kind}`, async () => {
      await h1.exec(['rm', '-rf', h1.paths.stateDir])
      await cut(kind)
      const { pid } = await start(h1)
      if (kind === 'unreachable') await says(/datastore-down: the lease store does not answer \(never reached\)/)
      await new Promise((resolve) => setTimeout(resolve, kind === 'blackhole' ? LATE_MS : 1_000))
      await isAlive(h1)
      assert.notDeepEqual((await status(h1)).notReady, [])
      await joined()
      // A connection that hangs is given up after 30 s.
      await ready(h1, 40_000)
      assert.equal(h1.daemon?.pid, pid)
      await h1.daemon?.stop()
    })
  }

  it('changes nothing in the kernel while it is away, nor liveness nor readiness, and what it missed is seen then', async () => {
    await Promise.all([start(h1), start(h2)])
    await Promise.all([knowsPeers(h1, 1), knowsPeers(h2, 1)])
    for (const host of lab.hosts) await host.addContainer('c1')
    const before = await networkOf(h1)
    const judge = h1.container('c1').startPing('10.5.2.2', 20)
    await judge.answered(AbortSignal.timeout(30_000))
    await cut('unreachable')
    await kubernetes.send(['POST', nodes, nodeObject('far', '10.5.3.0/24')])
    await h1.exec(['ss', '-K', 'dport', '=', '6443'], { anyCode: true })
    await says(/datastore-down/)
    await isAlive(h1)
    assert.deepEqual((await status(h1)).notReady, [])
    assertSame(await networkOf(h1), [...before, `unreachable ${controlPlane.address}`])
    await joined()
    await until(40_000, 'it is heard again', async () => assert.equal((await status(h1)).state, 'ok'))
    await judge.stop()
    assert.equal(judge.verdict().lost, 0)
  })

  it('leaves a host that starts again with what it knew: ready, peers, containers', async () => {
    const file = (await h1.exec(['find', h1.paths.stateDir, '-name', 'snapshot.json'])).stdout.trim()
    await until(40_000, 'the peer is on record', async () =>
      assert.deepEqual(
        JSON.parse(readFileSync(file, 'utf8')).peers.map(({ id }: { id: string }) => id),
        ['h2'],
      ),
    )
    await h1.daemon?.stop()
    await cut('unreachable')
    await h1.ip('link', 'del', 'flannel.1')
    await h1.exec(['rm', h1.paths.subnetFile])
    await start(h1)
    await ready(h1, 30_000)
    await knowsPeers(h1, 1)
    await says(/last-known: the leases have not been read since the start; 1 peers are those of 20/)
    assert.equal((await h1.subnetEnv()).families[0]?.subnet, '10.5.1.0/24')
    const { received } = await h1.container('c1').ping('10.5.2.2')
    assert.ok(received > 0)
    await isAlive(h1)
  })

  it('leaves a host without an address waiting for one, which comes with DHCP later (flannel#2008, openyurt#1649)', async () => {
    const [nic] = h1.layout.nics
    assert.ok(nic !== undefined)
    await h1.daemon?.stop()
    await h1.ip('link', 'del', 'flannel.1')
    await h1.exec(['rm', h1.paths.subnetFile])
    await h1.ip('addr', 'flush', 'dev', nic.device)
    const { pid } = await start(h1)
    await says(/interface-awaited: no interface fits the default route/)
    await isAlive(h1)
    for (const address of nic.addresses) await h1.ip('addr', 'add', address, 'dev', nic.device)
    for (const gateway of nic.gateways) await h1.ip('route', 'add', 'default', 'via', gateway)
    await ready(h1, 10_000)
    await knowsPeers(h1, 1)
    assert.equal(h1.daemon?.pid, pid)
    assert.doesNotMatch(JSON.stringify((await status(h1)).conditions), /interface-awaited/)
    const { received } = await h1.container('c1').ping('10.5.2.2')
    assert.ok(received > 0)
  })

  it('is believed as soon as it answers: another podCIDR, a peer that left', async () => {
    await kubernetes.send(
      ['DELETE', `${nodes}/h1`, {}],
      ['POST', nodes, nodeObject('h1', '10.5.9.0/24')],
      ['DELETE', `${nodes}/h2`, {}],
    )
    await h2.daemon?.stop()
    await joined()
    await until(40_000, 'subnet.env has the new subnet', async () =>
      assert.equal((await h1.subnetEnv()).families[0]?.subnet, '10.5.9.0/24'),
    )
    await until(10_000, 'the route to the peer is gone', async () =>
      assert.deepEqual(
        (await networkOf(h1)).filter((line) => /^10\.5\.2\.0\/24 /.test(line)),
        [],
      ),
    )
    await until(10_000, 'all is well', async () => assert.equal((await status(h1)).state, 'ok'))
  })

  it('is another one where its authority is another: what was known of the first is ignored', async () => {
    const file = (await h1.exec(['find', h1.paths.stateDir, '-name', 'snapshot.json'])).stdout.trim()
    await h1.daemon?.stop()
    const record = JSON.parse(readFileSync(file, 'utf8'))
    record.store.marks = ['0'.repeat(64)]
    await writeFile(file, JSON.stringify(record))
    await cut('unreachable')
    await start(h1)
    await until(20_000, 'it says so', async () =>
      assert.match((await h1.daemon?.logText()) ?? '', /last known leases not used.*another cluster/),
    )
    assert.notDeepEqual((await status(h1)).notReady, [])
    await joined()
    await ready(h1, 30_000)
  })
})
