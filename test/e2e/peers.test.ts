import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  countInLog,
  flanneld,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  networkOf,
  oneSegment,
  startDaemon,
  status,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

// 10.5.96.0/20 stands for a service range.
const args = ['--protected-cidrs=10.5.96.0/20,169.254.0.0/16', '--healthz-port=8080', '--log-format=json']
const evil = '02:00:00:00:66:66'
const nodeId = 'e'.repeat(32)

function value(more: Record<string, unknown> = {}, data: Record<string, unknown> = {}): string {
  const whole = { PublicIP: '192.168.64.240', BackendType: 'vxlan', BackendData: { VNI: 1, VtepMAC: evil, ...data } }
  return JSON.stringify({ ...whole, ...more })
}

function nested(depth: number): unknown {
  return depth === 0 ? 1 : { a: nested(depth - 1) }
}

/** Fault rows 25, 53, 54: what a stranger can put beside good leases. */
describe('leases that must not become routes', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host
  let clean: readonly string[]
  /** An etcd lease: without one a key is a reservation. */
  let expiry: string
  let own: { readonly subnet: string; readonly mac: string; readonly node: string }

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: { ...vxlanFrom100, SubnetMin: '10.5.112.0' } })
    host = lab.host('h1')
    await lab.etcd.putAll([1, 2].map((n) => strangerLease(n)))
    // A network of the host inside the overlay's, as a bridge of another tool would have it.
    await host.ipBatch([
      'link add lan0 type veth peer name lan1',
      'link set lan0 up',
      'link set lan1 up',
      'addr add 10.5.80.1/24 dev lan0',
      'addr add 10.5.86.9/32 dev lan0',
      'route add 10.77.0.0/16 via 192.168.64.1',
      // A static route without an address, one that hides the destination at another metric, and one whose gateway is in a subnet.
      'route add 10.5.82.0/24 dev lan0 proto static',
      'route add unreachable 10.5.83.0/24 metric 77',
      'route add 10.5.84.254 dev lan0',
      'route add 203.0.113.0/24 nexthop via 192.168.64.1 nexthop via 10.5.84.254',
    ])
    await startDaemon(host, { args })
    await knowsPeers(host, 2)
    clean = await networkOf(host)
    expiry = await lab.etcd.grantLease(3_600)
    const document = await status(host)
    const [link] = await host.ipJson('link', 'show', 'flannel.1')
    own = { subnet: document.lease.id, mac: link.address, node: document.nodeId }
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  /** Puts the key, expects the verdict, and that the kernel and the other peers know nothing of it. */
  const rejects = async (id: string, text: string, reason: string | RegExp) => {
    await lab.etcd.put(`${leasePrefix}${id}`, text, { lease: expiry })
    try {
      await until(3_000, `${id} ${text.slice(0, 100)} is rejected: ${reason}`, async () => {
        const { rejected, peers } = await status(host)
        const states = peers.map(
          (peer: { id: string; state: string; reason: string }) => `${peer.state} ${peer.reason}`,
        )
        const found = rejected.find((each: { id: string }) => each.id === id)
        const verdict = found && `${found.reason} ${found.text}`
        const skipped = peers.find((peer: { id: string; state: string }) => peer.id === id && peer.state === 'skipped')
        assert.match(
          verdict ?? skipped?.reason ?? 'not there',
          new RegExp(reason),
          JSON.stringify({ rejected, states }),
        )
        assert.equal(peers.filter((peer: { state: string }) => peer.state === 'ok').length, 2)
      })
      assertSame(await networkOf(host), clean)
    } finally {
      await lab.etcd.del(`${leasePrefix}${id}`)
    }
  }
  const taken = '10.5.60.0-24'

  it('are rejected for their subnet (row 53)', async () => {
    for (const [id, reason] of [
      ['10.6.1.0-24', 'outside-network'],
      ['192.168.64.0-24', 'outside-network'],
      ['10.5.0.0-16', 'own-subnet'],
      ['10.5.80.0-24', 'host-range'],
      ['10.5.82.0-24', 'host-range'],
      ['10.5.83.0-24', 'host-range'],
      ['10.5.84.0-24', 'host-range'],
      ['10.5.86.0-23', 'host-range'],
      ['10.5.96.0-24', 'protected-range'],
      ['10.5.111.0-24', 'protected-range'],
      ['169.254.0.0-24', 'outside-network'],
      ['127.0.0.0-24', 'outside-network'],
      ['0.0.0.0-0', 'unreadable'],
      ['10.5.64.7-24', 'unreadable'],
      ['10.5.064.0-24', 'unreadable'],
      ['10.5.64.0-33', 'unreadable'],
      ['300.5.64.0-24', 'unreadable'],
      ['nonsense', 'foreign-key'],
      ['../config', 'foreign-key'],
      ['10.5.64.0-24/below', 'foreign-key'],
    ] as const) {
      await rejects(id, value(), `^${reason}`)
    }
  })

  it('do become routes where flannel would route them and nothing breaks', async () => {
    const good: readonly (readonly [string, string])[] = [
      ['10.5.0.0-24', value({}, { VtepMAC: '02:00:00:00:66:01' })],
      ['10.5.64.0-25', value({ PublicIP: '169.254.1.1' }, { VtepMAC: '02:00:00:00:66:02' })],
      ['10.5.66.0-23', value({ PublicIP: '10.5.222.7' }, { VtepMAC: '02:00:00:00:66:03' })],
    ]
    await lab.etcd.putAll(good.map(([id, text]) => [`${leasePrefix}${id}`, text] as const))
    // A reservation that nobody has claimed is listed, and nothing is wrong.
    await lab.etcd.put(`${leasePrefix}10.5.70.0-24`, JSON.stringify({ PublicIP: '192.168.64.77' }))
    await knowsPeers(host, 5)
    await until(3_000, 'the reservation is listed', async () => {
      const { state, rejected } = await status(host)
      const reasons = rejected.map(({ reason }: { reason: string }) => reason)
      assert.deepEqual([state, reasons], ['ok', ['unclaimed-reservation']])
    })
    for (const [id] of [...good, ['10.5.70.0-24']]) await lab.etcd.del(`${leasePrefix}${id}`)
    await knowsPeers(host, 2)
    await until(1_000, 'nothing of them is left', async () => assertSame(await networkOf(host), clean))
  })

  it('are judged anew within a second when this host changes, and never held for that', async () => {
    const shows = async (what: string, expected: (document: Awaited<ReturnType<typeof status>>) => void) =>
      await until(1_000, what, async () => expected(await status(host)))
    const conditionsOf = (document: Awaited<ReturnType<typeof status>>) =>
      document.conditions.map(({ code }: { code: string }) => code)
    // A VPN with a prefix around everything: the longest prefix wins.
    await host.ip('addr', 'add', '10.8.0.5/8', 'dev', 'lan0')
    await shows('the overlap is told', (document) => {
      assert.deepEqual([document.state, document.peers.length, document.rejected], ['ok', 2, []])
      const overlap = document.conditions.find(({ code }: { code: string }) => code === 'overlap')
      assert.match(overlap?.text ?? '', /10\.0\.0\.0\/8 dev lan0 and 10\.5\.[12]\.0\/24/)
    })
    await host.ip('addr', 'del', '10.8.0.5/8', 'dev', 'lan0')
    await shows('the overlap is over', (document) => assert.ok(!conditionsOf(document).includes('overlap')))
    for (const [add, del] of [
      ['route add 10.5.2.0/24 dev lan0 metric 50', 'route del 10.5.2.0/24 dev lan0 metric 50'],
      ['addr add 10.5.2.9/32 dev lan0', 'addr del 10.5.2.9/32 dev lan0'],
      ['route add 10.9.0.0/24 via 10.5.2.7 dev lan0 onlink', 'route del 10.9.0.0/24'],
    ] as const) {
      await host.ip(...add.split(' '))
      await shows(`${add}: the peer is rejected`, (document) => {
        assert.deepEqual(
          document.rejected.map(({ id, reason }: Record<string, string>) => `${id} ${reason}`),
          ['10.5.2.0-24 host-range'],
        )
        assert.deepEqual([document.state, document.peers.length], ['degraded', 1])
        assert.ok(conditionsOf(document).includes('peers-rejected') && !conditionsOf(document).includes('peers-held'))
      })
      assert.match((await flanneld(host, ['plan'])).stdout, /# lease 10\.5\.2\.0-24 is rejected: /)
      await host.ip(...del.split(' '))
      await knowsPeers(host, 2)
    }
    // What replaces our route while we run is put right, and no reason against the peer.
    await host.ip('route', 'replace', '10.5.2.0/24', 'dev', 'lan0')
    await until(2_000, 'the route is ours again', async () => assertSame(await networkOf(host), clean))
    await knowsPeers(host, 2)
  })

  it('are rejected for their public address (row 53)', async () => {
    for (const [address, reason] of [
      ['0.0.0.0', 'bad-public-address'],
      ['127.0.0.1', 'bad-public-address'],
      ['224.0.0.1', 'bad-public-address'],
      ['255.255.255.255', 'bad-public-address'],
      ['192.168.64.11', 'own-public-address|duplicate-public-address'],
      [own.subnet.replace('0-24', '9'), 'public-address-inside'],
      ['10.5.60.9', 'public-address-inside'],
      // A container's of another peer, which is reached as before.
      ['10.5.2.9', 'public-address-inside'],
      ['010.0.0.1', 'unreadable'],
      ['1.2.3', 'unreadable'],
      ['::1', 'unreadable'],
      ['$(reboot)', 'unreadable'],
    ] as const) {
      // With another's NodeID: a lease without one that names our address would be our own of the time before.
      await rejects(taken, value({ PublicIP: address, NodeID: nodeId }), `^(${reason})`)
    }
  })

  it('are rejected for what is unreadable, wherever it is wrong (row 25)', async () => {
    for (const text of [
      '',
      '{',
      'null',
      '[]',
      '7',
      '"text"',
      '\u0000\u0001\u0002',
      value({ PublicIP: 7 }),
      value({ PublicIP: ['192.168.64.240'] }),
      value({ BackendType: {} }),
      value({ NodeID: 5 }),
      value({ Accepts: 'all' }),
      value({ Accepts: [null] }),
      value().replace('"VNI"', '"__proto__":{"polluted":true},"VNI"'),
      value({ Extra: nested(9) }),
      value({ Extra: 'x'.repeat(17 * 1024) }),
    ]) {
      await rejects(taken, text, '^unreadable')
    }
  })

  it('are rejected or skipped for backend data that cannot be true', async () => {
    for (const data of [
      { VtepMAC: '' },
      { VtepMAC: '00:00:00:00:00:00' },
      { VtepMAC: 'ff:ff:ff:ff:ff:ff' },
      { VtepMAC: '01:00:5e:00:00:01' },
      { VtepMAC: '02:00:00:00:66' },
      { VtepMAC: '02:00:00:00:66:6g; reboot' },
      { VtepMAC: 7 },
      { VNI: 2 },
      { VNI: -1 },
      { VNI: 'one' },
    ]) {
      await rejects(taken, value({}, data), '^invalid-vtep')
    }
    await rejects(taken, value({ BackendData: null }), '^invalid-vtep')
    await rejects(taken, value({ BackendData: 'text' }), '^invalid-vtep')
    await rejects(taken, value({ BackendType: 'wireguard' }), '^other-backend')
    await rejects(taken, value({}, { VtepMAC: own.mac }), '^(duplicate-mac|invalid-vtep)')
  })

  it('lose against what is older: overlap, MAC, public address, both named (row 54)', async () => {
    await rejects(taken, value({ PublicIP: '192.168.64.101' }), '^duplicate-public-address .*10\\.5\\.1\\.0-24')
    await rejects(taken, value({}, { VtepMAC: '02:00:00:00:00:02' }), '^duplicate-mac .*10\\.5\\.2\\.0-24')
    await rejects(taken, value({ NodeID: own.node }), '^own-identity')
  })

  it('are logged once, counted by reason, shown as JSON, and gone when they go', async () => {
    await lab.etcd.put(`${leasePrefix}${taken}`, value({ PublicIP: '127.0.0.1' }))
    const before = await countInLog(host, /lease rejected.*bad-public-address/)
    await lab.etcd.put(`${leasePrefix}10.5.61.0-24`, 'no JSON')
    await until(3_000, 'both are shown', async () => assert.equal((await status(host)).rejected.length, 2))
    const shown = await flanneld(host, ['status', '-o', 'json'])
    // The node is in service, and there are two that its containers do not reach.
    assert.equal(shown.code, 1, shown.stdout)
    assert.match((await flanneld(host, ['status', '--brief'])).stdout, /^degraded, .*rejected 2, .*peers-rejected/)
    const document = JSON.parse(shown.stdout)
    assert.deepEqual(document.rejected.map(({ id, reason }: Record<string, string>) => `${id} ${reason}`).sort(), [
      '10.5.60.0-24 bad-public-address',
      '10.5.61.0-24 unreadable',
    ])
    const ask = `fetch('http://127.0.0.1:8080/metrics').then(async (answer) => process.stdout.write(await answer.text()))`
    const metrics = (await host.exec([execPath, '-e', ask])).stdout
    assert.match(metrics, /^flannel_peers_rejected\{reason="bad-public-address"\} 1$/m)
    // Another change of the leases is no reason to say it again.
    await lab.etcd.put(...strangerLease(2))
    await lab.etcd.put(...strangerLease(3))
    await knowsPeers(host, 3)
    assert.equal(await countInLog(host, /lease rejected.*bad-public-address/), Math.max(1, before))
    await lab.etcd.del(strangerLease(3)[0])
    await lab.etcd.del(`${leasePrefix}10.5.6`, { prefix: true })
    await until(3_000, 'nothing is rejected', async () => assert.deepEqual((await status(host)).rejected, []))
    await knowsPeers(host, 2)
    assertSame(await networkOf(host), clean)
  })

  it('are no obstacle at the next start', async () => {
    const garbage: (readonly [string, string])[] = [
      [`${leasePrefix}`, 'the folder itself'],
      [`${leasePrefix}0.0.0.0-0`, value()],
      [`${leasePrefix}10.5.0.0-16`, value()],
      [`${leasePrefix}${taken}`, '{"PublicIP":'],
      [`${leasePrefix}10.5.62.0-24`, value({ PublicIP: '192.168.64.101' })],
      [`${leasePrefix}%s%n\u001b[2J`, '\u001b]0;title\u0007'],
    ]
    await lab.etcd.putAll(garbage)
    host.daemon?.kill('SIGKILL')
    await host.daemon?.waitExit()
    await startDaemon(host, { args })
    await knowsPeers(host, 2)
    assertSame(await networkOf(host), clean)
    assert.equal((await status(host)).lease.id, own.subnet)
    assert.ok((await status(host)).rejected.length >= 5)
    const human = await flanneld(host, ['status'])
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not reach a terminal
    assert.doesNotMatch(human.stdout + ((await host.daemon?.logText()) ?? ''), /\u001b/)
    for (const [key] of garbage) await lab.etcd.del(key)
  })
})
