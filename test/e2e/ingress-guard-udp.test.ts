import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Namespace } from '../../lab/namespace.ts'
import { everyPairReaches, formatReach, measureReach } from '../../lab/reach-table.ts'
import { needs } from '../needs.ts'
import { countArrivals } from './arrivals.ts'
import { transfer } from './transfer.ts'
import {
  bringUp,
  flanneld,
  knowsPeers,
  logsInFailure,
  lookedMs,
  oneSegment,
  startDaemon,
  status,
  until,
} from './world.ts'

const mtu = 1472
const on = { args: ['--ingress-guard=on'] }
const outside = '198.51.100.7'

/** Three datagrams to the proxy of a host, in each an echo request with this source: all that an injection takes. */
async function inject(from: Namespace, to: Host, source: string, target: string): Promise<void> {
  const script = `
    const [, to, source, target] = process.argv
    const sum = (bytes) => {
      let total = 0
      for (let at = 0; at < bytes.length; at += 2) total += bytes.readUInt16BE(at)
      while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
      return ~total & 0xffff
    }
    const address = (text) => text.split('.').map(Number)
    const packet = Buffer.alloc(28)
    packet.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1])
    packet.set([...address(source), ...address(target), 8], 12)
    packet.writeUInt16BE(sum(packet.subarray(0, 20)), 10)
    packet.writeUInt16BE(sum(packet.subarray(20)), 22)
    const socket = require('dgram').createSocket('udp4')
    const send = (left) => {
      if (left === 0) socket.close()
      else socket.send(packet, 8285, to, () => send(left - 1))
    }
    send(3)`
  await from.exec([execPath, '-e', script, to.address, source, target])
}

describe('ingress guard with udp in userspace', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(60_000)
  let lab: Lab
  let h1: Host
  let h2: Host
  let h3: Host
  let stranger: Host

  before(async () => {
    const netConf = { Network: '10.5.0.0/16', Backend: { Type: 'udp', Engine: 'userspace' } }
    lab = await Lab.create({ segments: oneSegment(4), netConf })
    ;[h1, h2, h3, stranger] = lab.hosts as [Host, Host, Host, Host]
    await bringUp([h1, h2], on)
    for (const host of [h1, h2]) await knowsPeers(host, 1)
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => await lab?.close())

  const c1 = () => h1.container('c1')
  /** What the guard has refused and what the engine has dropped, in packets. */
  const refusals = async (host: Host): Promise<Readonly<Record<string, number>>> => {
    const { guard, dataPlane } = await status(host)
    const { stranger, 'inner-source': inner } = dataPlane.drops
    return { ...guard.refused, 'engine stranger': stranger, 'engine inner-source': inner }
  }
  /** Asserts that what `act` does is refused by this rule, or dropped by the engine for this reason, and by nothing else. */
  const refusedBy = async (rule: string, packets: number, act: () => Promise<void>) => {
    const before = await refusals(h1)
    await act()
    await until(lookedMs, 'counted', async () => {
      assert.deepEqual(await refusals(h1), { ...before, [rule]: (before[rule] ?? 0) + packets })
    })
  }
  /** By their names in `flanneld status`. */
  const assertNamed = async (...offenders: readonly string[]) => {
    const { stdout } = await flanneld(h1, ['status'])
    assert.match(stdout, /^guard +on \(drops\); packets refused: /m)
    for (const name of offenders) assert.match(stdout, new RegExp(name))
  }

  it('a host joins, all reach each other at full size and by TCP, and nobody is refused', async () => {
    const bystander = c1().startPing(h2.container('c1').address, 20)
    await bystander.answered(AbortSignal.timeout(5_000))
    await bringUp([h3], on)
    const hosts = [h1, h2, h3]
    // From the moment that it knows its peers its packets are answered: what lets it in precedes the way to it.
    for (const host of hosts) await knowsPeers(host, 2)
    const table = await measureReach(hosts)
    assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
    for (const from of hosts) {
      for (const to of hosts) {
        if (from === to) continue
        const [source, target] = [from.container('c1'), to.container('c1')]
        const full = await source.ping(target.address, { count: 2, size: mtu - 28, df: true })
        assert.equal(full.received, 2, `${from.label} -> ${to.label} DF ${mtu}`)
        assert.equal(await transfer(source, target, 5), 5 * 2 ** 20, `${from.label} -> ${to.label} TCP`)
        const bound = ['ping', '-q', '-c', '1', '-W', '1', '-I', from.address, target.address]
        assert.equal((await from.exec(bound, { anyCode: true })).code, 0, `${from.label} by its own address`)
      }
    }
    // What the proxy itself says comes by the tunnel's device, too.
    const connect = `require('net').connect(9, '10.5.0.77').on('error', (e) => process.stdout.write(e.code))`
    assert.match((await c1().exec([execPath, '-e', connect])).stdout, /ENETUNREACH|EHOSTUNREACH/)
    const { lost } = await bystander.stop()
    assert.equal(lost, 0)
    for (const host of hosts) {
      const none = Object.values(await refusals(host)).every((count) => count === 0)
      assert.ok(none, `${host.label}: ${JSON.stringify(await refusals(host))}`)
    }
  })

  it('a stranger gets nothing in, whoever he says he is: the guard drops it and names him (row 51)', async () => {
    const sources = ['10.5.200.5', h2.container('c1').address, h2.address]
    const arrived = await Promise.all(sources.map((source) => countArrivals(c1(), source)))
    await refusedBy('outer-source', 9, async () => {
      for (const source of sources) await inject(stranger, h1, source, c1().address)
    })
    assert.deepEqual(await Promise.all(arrived.map((count) => count())), [0, 0, 0])
    await assertNamed(`outer-source: ${stranger.address} by eth0, 9 packets`)
  })

  it('a peer does not speak for another one’s containers, nor for this host’s: the guard names it (row 52)', async () => {
    const theirs = h2.container('c1').address
    const own = c1().address.replace(/\d+$/, '99')
    const arrived = await countArrivals(c1(), own)
    await refusedBy('inner-source', 6, async () => {
      for (const source of [theirs, own]) await inject(h3, h1, source, c1().address)
    })
    assert.equal(await arrived(), 0)
    await assertNamed(`inner-source: ${h3.address} by eth0, 6 packets`)
  })

  it('nor with an address that is no container’s, a node’s for one: the engine drops it', async () => {
    const nobodys = '10.5.0.77'
    const arrived = await Promise.all([h1.address, outside, nobodys].map((source) => countArrivals(c1(), source)))
    await refusedBy('engine inner-source', 12, async () => {
      for (const source of [h2.address, h1.address, outside, nobodys]) await inject(h3, h1, source, c1().address)
    })
    assert.deepEqual(await Promise.all(arrived.map((count) => count())), [0, 0, 0])
    const { stdout } = await flanneld(h1, ['status'])
    assert.match(stdout, /^data plane .*; dropped .*\binner-source 12\b/m)
  })

  it('its own address and its containers’ are a peer’s to use', async () => {
    const before = await refusals(h1)
    for (const source of [h3.address, h3.container('c1').address.replace(/\d+$/, '77')]) {
      const arrived = await countArrivals(c1(), source)
      await inject(h3, h1, source, c1().address)
      await until(5_000, `${source} arrives`, async () => assert.equal(await arrived(), 3))
    }
    assert.deepEqual(await refusals(h1), before)
  })

  it('without the tunnel nothing comes with a container’s address', async () => {
    const { families } = await h1.subnetEnv()
    await stranger.exec(['sh', '-ec', `ip route replace ${families[0]?.subnet} via ${h1.address} dev eth0`])
    const claimed = c1().address.replace(/\d+$/, '98')
    await stranger.exec(['sh', '-ec', `ip addr add ${claimed}/32 dev lo`])
    await refusedBy('direct-source', 3, async () => {
      await stranger.exec(['ping', '-q', '-c', '3', '-i', '0.05', '-W', '0.3', '-I', claimed, c1().address], {
        anyCode: true,
      })
    })
    await assertNamed(`direct-source: ${claimed} by eth0, 3 packets`)
  })

  it('a container reaches no proxy, neither a peer’s nor its own host’s', async () => {
    const theirs = h2.container('c1').address
    await refusedBy('container', 3, async () => await inject(c1(), h2, theirs, theirs))
    await refusedBy('outer-source', 3, async () => await inject(c1(), h1, theirs, c1().address))
    await assertNamed(`container: ${c1().address} by cni0, 3 packets`)
  })

  it('after all that everybody still reaches everybody', async () => {
    const table = await measureReach([h1, h2, h3])
    assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
  })

  it('with the guard off the engine alone refuses strangers and false sources', async () => {
    await h1.daemon?.stop()
    await startDaemon(h1, { args: ['--ingress-guard=off'] })
    await knowsPeers(h1, 2)
    const count = async () => (await status(h1)).dataPlane.drops
    assert.equal((await status(h1)).guard, null)
    await inject(stranger, h1, h2.container('c1').address, c1().address)
    await inject(h3, h1, h2.container('c1').address, c1().address)
    await until(lookedMs, 'counted', async () => {
      const drops = await count()
      assert.deepEqual([drops.stranger, drops['inner-source']], [3, 3])
    })
  })
})
