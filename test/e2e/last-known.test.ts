import assert from 'node:assert/strict'
import { chmodSync, chownSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  bringUp,
  countInLog,
  flanneld,
  knowsPeers,
  leaseOf,
  leasePrefix,
  logsInFailure,
  oneSegment,
  overlayOf,
  ready,
  startDaemon,
  startOver,
  status,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

// biome-ignore lint/suspicious/noExplicitAny: the test is the judge of its shape
type Record = any

/** What a daemon does that starts while etcd cannot be reached: `reliability.md` 3.6. */
describe('what was last known of etcd', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let file: string
  let good: string
  let key: string

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    host = lab.host('h1')
    file = join(host.paths.stateDir, await instance(host), 'snapshot.json')
    await lab.etcd.putAll([strangerLease(1), strangerLease(2)], { lease: await lab.etcd.grantLease(86_400) })
    await bringUp(lab.hosts)
    await knowsPeers(host, 3)
    key = (await leaseOf(lab, host)).key
    good = await recordWith(3)
    await host.daemon?.stop()
  })

  beforeEach(() => {
    rmSync(file, { force: true })
    writeFileSync(file, good, { mode: 0o600 })
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await host.daemon?.stop()
    if (lab.etcd.pid === undefined) await lab.etcd.start()
  })

  after(async () => {
    await lab?.close()
  })

  /** Its subnet file is no default one, so the state directory has a folder of this instance. */
  async function instance(of: Host): Promise<string> {
    await startDaemon(of)
    await ready(of)
    const { stdout } = await of.exec(['ls', of.paths.stateDir])
    await of.daemon?.stop()
    return stdout.trim()
  }

  async function recordWith(peers: number): Promise<string> {
    await until(40_000, `the record has ${peers} peers`, async () =>
      assert.equal(JSON.parse(readFileSync(file, 'utf8')).peers.length, peers),
    )
    return readFileSync(file, 'utf8')
  }

  /** As after the host was started again: nothing is in the kernel and nothing in /run. */
  async function rebooted(): Promise<void> {
    await host.exec(['ip', 'link', 'del', 'flannel.1'], { anyCode: true })
    await host.exec(['rm', '-f', host.paths.subnetFile])
  }
  const change = (how: (record: Record) => void) => {
    const record = JSON.parse(good)
    how(record)
    writeFileSync(file, JSON.stringify(record))
  }
  const condition = async (code: string) =>
    (await status(host)).conditions.find((each: { code: string }) => each.code === code)
  const routes = async () => (await overlayOf(host)).filter((line) => /^10\.5\.(1|2)\.0\/24/.test(line)).length
  const waits = () =>
    until(20_000, 'it waits for etcd, and says so', async () => {
      const { notReady, conditions } = await status(host)
      assert.ok(notReady.length > 0)
      assert.ok(conditions.some(({ code }: { code: string }) => code === 'datastore-down'))
    })

  it('holds no secret and belongs to nobody else', async () => {
    const { stdout } = await host.exec(['stat', '-c', '%a %u', file])
    assert.equal(stdout.trim(), '600 0')
    assert.match(good, /"networks":\["10\.5\.0\.0\/16"\]/)
  })

  it('carries packets after a reboot of the host, and gives way to what etcd says when it is back', async () => {
    const before = (await overlayOf(host)).filter((line) => !/flannel\.1 /.test(line) || /link\/ether/.test(line))
    await lab.etcd.stop()
    await rebooted()
    await startDaemon(host)
    await ready(host, 20_000)
    await knowsPeers(host, 3)
    const { lease, state } = await status(host)
    assert.deepEqual([`${leasePrefix}${lease.id}`, state], [key, 'degraded'])
    assert.match(
      (await condition('last-known'))?.text,
      /the leases have not been read since the start; 3 peers are those of 20/,
    )
    const mac = (lines: readonly string[]) =>
      /link\/ether (\S+)/.exec(lines.find((l) => /vxlan id 1/.test(l)) ?? '')?.[1]
    assert.equal(mac(await overlayOf(host)), mac(before))
    const { received } = await host.container('c1').ping(lab.host('h2').container('c1').address)
    assert.ok(received > 0)
    // Nothing of it is the whole truth: a route of ours that no peer on record has stays for now.
    await lab.etcd.start()
    await lab.etcd.del(strangerLease(1)[0])
    await lab.etcd.put(...strangerLease(3))
    await until(30_000, 'what etcd says counts', async () => {
      const { peers, state: now, conditions } = await status(host)
      assert.deepEqual([peers.length, now], [3, 'ok'], JSON.stringify(conditions))
    })
    assert.equal(await routes(), 1)
    assert.equal((await leaseOf(lab, host)).key, key)
    await lab.etcd.put(...strangerLease(1))
    await lab.etcd.del(strangerLease(3)[0])
  })

  it('removes nothing', async () => {
    await startDaemon(host)
    await knowsPeers(host, 3)
    const before = await overlayOf(host)
    await host.daemon?.stop()
    change((record) => record.peers.splice(1))
    await lab.etcd.stop()
    await startDaemon(host)
    await ready(host, 20_000)
    await until(5_000, 'one peer is on record', async () => assert.equal((await status(host)).peers.length, 1))
    assert.deepEqual(await overlayOf(host), before)
  })

  it('is ready until the lease may have expired; peers are reached all the same', async () => {
    await lab.etcd.stop()
    await rebooted()
    const left = 3_600_000 + 12_000
    change((record) => {
      record.expiresAt = record.written.wall + left + (Date.now() - record.written.wall)
    })
    await startDaemon(host)
    await ready(host, 10_000)
    await until(20_000, 'less than an hour is left', async () => {
      assert.match((await status(host)).notReady.join(), /the lease may have expired, at 20.*10\.5\./)
    })
    await host.daemon?.stop()
    await rebooted()
    await startDaemon(host)
    await until(20_000, 'peers are reached', async () => assert.equal(await routes(), 2))
    assert.match((await status(host)).notReady.join(), /may have expired/)
    await assert.rejects(host.exec(['cat', host.paths.subnetFile]))
    await lab.etcd.start()
    await ready(host, 30_000)
    assert.equal((await leaseOf(lab, host)).key, key)
  })

  const untrusted: readonly (readonly [string, (record: Record) => void])[] = [
    [
      'written before another start of the host, in the future',
      (record) => {
        record.written.bootId = 'other'
        record.written.wall += 7_200_000
        record.expiresAt += 7_200_000
      },
    ],
    [
      'with a lease that would live for ever',
      (record) => {
        record.written.bootId = 'other'
        record.written.wall -= 86_400_000
        record.expiresAt += 1e12
      },
    ],
  ]
  for (const [what, how] of untrusted) {
    it(`${what}, says nothing of the lease`, async () => {
      await lab.etcd.stop()
      await rebooted()
      change(how)
      await startDaemon(host)
      await until(20_000, 'peers are reached, the node is not ready', async () => {
        assert.match((await status(host)).notReady.join(), /may have expired/)
        assert.equal(await routes(), 2)
      })
    })
  }

  const foreign: readonly (readonly [string, string | ((record: Record) => void), RegExp])[] = [
    ['cut off', '{"version":1,"wri', /last known leases not used.*JSON/],
    ['empty', '', /last known leases not used/],
    ['of another version', (record) => (record.version = 2), /version: must be 1/],
    ['of another node', (record) => (record.nodeId = '0'.repeat(32)), /it is of another node/],
    ['of another prefix', (record) => (record.store.prefix = '/other'), /of the prefix \/other/],
    ['of another cluster', (record) => (record.store.marks = ['http://203.0.113.9:2379']), /of another cluster/],
    ['of another kind', (record) => (record.store.kind = 'kubernetes'), /of leases from kubernetes/],
    ['of another network', (record) => (record.networks = ['10.6.0.0/16']), /of the network 10\.6\.0\.0\/16/],
    ['with a configuration that cannot be used', (record) => (record.document.text = '{"Network":"x"}'), /Network/],
  ]
  for (const [what, how, why] of foreign) {
    it(`is ignored when it is ${what}, with a line`, async () => {
      await lab.etcd.stop()
      await rebooted()
      if (typeof how === 'string') writeFileSync(file, how)
      else change(how)
      const before = await countInLog(host, why)
      await startDaemon(host)
      await waits()
      await until(10_000, 'it says why', async () => assert.ok((await countInLog(host, why)) > before))
      assert.equal(await routes(), 0)
    })
  }

  const unsafe: readonly (readonly [string, () => void, RegExp])[] = [
    ['others may write', () => chmodSync(file, 0o666), /others may write .*snapshot\.json.*chmod 0600/],
    ['belongs to another user', () => chownSync(file, 65_534, 65_534), /belongs to user 65534.*chown 0/],
  ]
  for (const [what, how, why] of unsafe) {
    it(`is refused when it ${what}, with the remedy`, async () => {
      await lab.etcd.stop()
      await rebooted()
      how()
      await startDaemon(host)
      await waits()
      await until(10_000, 'it says why', async () => assert.ok((await countInLog(host, why)) > 0))
      assert.equal(await routes(), 0)
    })
  }

  it('passes the rules for peers: a planted lease takes nothing from the host', async () => {
    await lab.etcd.stop()
    await rebooted()
    const before = (await host.exec(['ip', 'route', 'show'])).stdout
    change((record) => {
      const [first, second, ...rest] = record.peers
      const network = { ...first, id: 'lan', subnets: ['192.168.64.0/24'] }
      const everything = { ...second, id: 'all', subnets: ['0.0.0.0/0'] }
      record.peers = [network, everything, { ...first, subnets: ['x'] }, ...rest]
    })
    await startDaemon(host)
    await ready(host, 20_000)
    const { rejected, peers } = await status(host)
    assert.deepEqual(rejected.map(({ id }: { id: string }) => id).sort(), ['all', 'lan'])
    assert.equal(peers.length, 1)
    const after = (await host.exec(['ip', 'route', 'show'])).stdout
    assert.deepEqual(
      after.split('\n').filter((line) => !/^10\.5\.\d+\.0\/24 /.test(line)),
      before.split('\n').filter((line) => !/^10\.5\.\d+\.0\/24 /.test(line)),
    )
  })

  it('never overwrites who has the subnet by now', async () => {
    await lab.etcd.stop()
    await rebooted()
    await startDaemon(host)
    await ready(host, 20_000)
    await lab.etcd.start()
    const [, value] = strangerLease(9)
    // In one step with the start of etcd for the daemon: it was deaf until now, or finds its lease as it was.
    await host.daemon?.freeze()
    await lab.etcd.put(key, value)
    host.daemon?.kill('SIGCONT')
    await until(30_000, 'the loss is named', async () =>
      assert.match((await status(host)).notReady.join(), /the own lease .* was lost/),
    )
    assert.equal((await lab.etcd.list(key))[0]?.value, value)
    await lab.etcd.del(key)
    await until(70_000, 'the same subnet is taken again', async () => assert.equal((await leaseOf(lab, host)).key, key))
    await ready(host)
  })

  it('is gone after a clean-up', async () => {
    await flanneld(host, ['cleanup'])
    await assert.rejects(host.exec(['cat', file]))
    await startOver(lab, vxlanFrom100)
  })
})
