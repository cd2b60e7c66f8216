import assert from 'node:assert/strict'
import type { DaemonOptions } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab, type LabOptions } from '../../lab/lab.ts'
import { long, repeat } from '../long.ts'
import { needs, peerProgram } from '../needs.ts'
import {
  bringUp,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  strangerLease,
  until,
  vxlan,
  vxlanFrom100,
} from './world.ts'

const guard = (word: string, ...more: string[]): DaemonOptions => ({ args: [`--ingress-guard=${word}`, ...more] })
const backend = (fields: Record<string, unknown>) => ({ Network: '10.5.0.0/16', Backend: fields })

interface Side {
  readonly backend: Record<string, unknown>
  readonly flannel?: true
}

/** Two hosts on one link that need not agree on how packets travel. */
interface Pair {
  readonly title: string
  readonly sides: readonly [Side, Side]
  /** Tried with each rp_filter also where time is short. */
  readonly first?: true
}

const vxlanSide: Side = { backend: { Type: 'vxlan' } }
const directSide: Side = { backend: { Type: 'vxlan', DirectRouting: true } }
const hostGwSide: Side = { backend: { Type: 'host-gw' } }
const byFlannel = (side: Side): Side => ({ ...side, flannel: true })

const OURS: readonly Pair[] = [
  { title: 'vxlan with DirectRouting, vxlan without', sides: [directSide, vxlanSide], first: true },
  { title: 'host-gw', sides: [hostGwSide, hostGwSide] },
]
const MIXED: readonly Pair[] = [
  { title: 'flannel with DirectRouting, ours without', sides: [byFlannel(directSide), vxlanSide], first: true },
  { title: 'flannel without, ours with DirectRouting', sides: [byFlannel(vxlanSide), directSide] },
  { title: 'flannel and ours with host-gw', sides: [byFlannel(hostGwSide), hostGwSide] },
]

describe('ingress guard between hosts that disagree', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(240_000)
  let lab: Lab | undefined

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
    lab = undefined
  })

  testPairs(OURS, (made) => {
    lab = made
  })

  const behindRouter: LabOptions['segments'] = [
    ...oneSegment(1),
    { name: 'lan2', subnet: '192.168.65.0/24', hosts: ['h2'] },
  ]
  for (const back of ['translated', 'as it is'] as const) {
    it(`a peer whose public address is not on its host; its own packets come with the source ${back}`, async () => {
      lab = await Lab.create({ segments: behindRouter, netConf: vxlan })
      const [h1, h2] = [lab.host('h1'), lab.host('h2')]
      const shown = '203.0.113.2'
      await lab.router.exec([
        'nft',
        `table ip nat {
           chain in { type nat hook prerouting priority -100; ip daddr ${shown} dnat to ${h2.address}; }
           chain out { type nat hook postrouting priority 100; ${back === 'translated' ? `ip saddr ${h2.address} udp dport 8472 snat to ${shown};` : ''} }
         }`,
      ])
      await Promise.all([
        startDaemon(h1, guard('on')),
        startDaemon(h2, guard('on', `--public-ip=${shown}`, '--iface=eth0')),
      ])
      for (const host of [h1, h2]) {
        await host.subnetEnv()
        await host.addContainer('c1')
        await knowsPeers(host, 1)
      }
      await until(5_000, 'all works', async () => {
        for (const line of await replies(h1, h2)) assert.match(line, /works$/)
      })
    })
  }

  const joins = repeat(40, 99)
  const rounds = repeat(1, 2)
  it(`${joins * rounds} joins and leaves: no route without what lets the answer in, and nobody else notices`, async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    const { etcd } = lab
    const [h1, h2] = [lab.host('h1'), lab.host('h2')]
    // Who leaves is let go at once, however many leave with him.
    await bringUp(lab.hosts, guard('on', '--hold=0'))
    await knowsPeers(h1, 1)
    await knowsPeers(h2, 1)
    const tables = (await h1.exec(['nft', 'list', 'tables'])).stdout
    const set = `inet ${/flanneld-guard\S*/.exec(tables)?.[0]} paths4`
    const judge = h1.container('c1').startPing(h2.container('c1').address)
    const subnets = (text: string) =>
      new Set(text.match(/\b10\.5\.\d{1,2}\.0\/24/g)?.filter((subnet) => !subnet.startsWith('10.5.100')))
    /** In this order a route that came too early shows; the other way round one that stayed too long. */
    const look = async (...scripts: readonly string[]) => {
      const { stdout } = await h1.exec(['sh', '-c', scripts.join('; echo --; ')])
      return stdout.split('--').map(subnets)
    }
    const [routes, elements] = ['ip route', `nft list set ${set}`]
    const among = (some: ReadonlySet<string> | undefined, all: ReadonlySet<string> | undefined) =>
      [...(some ?? [])].filter((one) => !all?.has(one))
    for (let round = 0; round < rounds; round += 1) {
      const joining = Promise.all(
        Array.from({ length: joins }, async (_unused, index) => {
          const [key, value] = strangerLease(index + 1)
          await etcd.put(key, value)
        }),
      )
      await until(30_000, 'all have come', async () => {
        const [routed, admitted] = await look(routes, elements)
        assert.deepEqual(among(routed, admitted), [])
        assert.equal(routed?.size, joins)
      })
      await joining
      const leaving = (async () => {
        for (let n = 1; n <= joins; n += 1) await etcd.del(`${leasePrefix}10.5.${n}.0-24`)
      })()
      await until(30_000, 'all have left', async () => {
        const [admitted, routed] = await look(elements, routes)
        assert.deepEqual(among(routed, admitted), [])
        assert.equal(admitted?.size, 0)
      })
      await leaving
    }
    const { sent, lost } = await judge.stop()
    assert.ok(sent > 20)
    assert.equal(lost, 0)
  })
})

describe("ingress guard beside flannel's daemon", function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(120_000)
  let lab: Lab | undefined

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
    lab = undefined
  })

  testPairs(MIXED, (made) => {
    lab = made
  })
})

/** A test for each pair and rp_filter; `keep` is told of the lab, which the suite closes. */
function testPairs(pairs: readonly Pair[], keep: (lab: Lab) => void): void {
  for (const { title, sides, first } of pairs) {
    const values = long || first ? ([0, 1, 2] as const) : ([1] as const)
    for (const rpFilter of values) {
      it(`${title}, rp_filter ${rpFilter}: what works without it works with it`, async () => {
        const lab = await Lab.create({ segments: oneSegment(2), rpFilter, netConf: backend(sides[0].backend) })
        keep(lab)
        const [h1, h2] = [lab.host('h1'), lab.host('h2')]
        const results = new Map<string, readonly string[]>()
        for (const word of ['off', 'on']) {
          await startPair(lab, sides, word)
          // Direct paths are taken when the neighbour has answered.
          let last: readonly string[] = []
          await until(6_000, 'steady', async () => {
            const now = await replies(h1, h2)
            const steady = now.join() === last.join()
            last = now
            assert.ok(steady && (rpFilter === 1 || now.every((line) => line.endsWith('works'))), now.join())
          })
          results.set(word, last)
        }
        const broken = results
          .get('off')
          ?.filter((line) => line.endsWith('works') && !results.get('on')?.includes(line))
        assert.deepEqual(broken, [])
      })
    }
  }
}

/** Whether containers and hosts are answered, both ways. */
async function replies(h1: Host, h2: Host): Promise<readonly string[]> {
  const c = (host: Host) => host.container('c1')
  const ways = [
    ['c1 -> c2', c(h1), c(h2)],
    ['c2 -> c1', c(h2), c(h1)],
    ['h1 -> c2', h1, c(h2)],
    ['h2 -> c1', h2, c(h1)],
  ] as const
  return await Promise.all(
    ways.map(async ([name, from, to]) => {
      const { received } = await from.ping(to.address, { count: 2, wait: 300 })
      return `${name}: ${received > 0 ? 'works' : 'fails'}`
    }),
  )
}

async function startPair(made: Lab, sides: readonly [Side, Side], word: string): Promise<void> {
  for (const [index, { backend: fields, flannel }] of sides.entries()) {
    const host = made.hosts[index]
    assert(host !== undefined)
    await host.daemon?.stop()
    await made.configure(backend(fields))
    if (flannel) await host.startDaemon({ program: peerProgram('peer:flanneld') })
    else await startDaemon(host, guard(word))
    await host.subnetEnv()
    if (host.containers.length === 0) await host.addContainer('c1')
    if (!flannel) await ready(host)
  }
}
