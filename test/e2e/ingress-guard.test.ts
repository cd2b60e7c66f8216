import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Namespace } from '../../lab/namespace.ts'
import { needs } from '../needs.ts'
import { countArrivals } from './arrivals.ts'
import {
  bringUp,
  flanneld,
  knowsPeers,
  logsInFailure,
  lookedMs,
  oneSegment,
  ready,
  startDaemon,
  status,
  until,
  vxlan,
} from './world.ts'

const mode = (word: string, ...more: string[]) => ({ args: [`--ingress-guard=${word}`, ...more] })

/** What flannel's network lets anybody do: a vxlan device of one's own, aimed at a host, and a source out of thin air. */
async function tunnelInto(attacker: Namespace, target: Host, local: string, subnet: string) {
  const [{ address }] = await target.ipJson('link', 'show', 'flannel.1')
  await attacker.exec([
    'sh',
    '-ec',
    `ip link add evil type vxlan id 1 local ${local} dev eth0 dstport 8472 nolearning
     ip link set evil up
     bridge fdb append ${address} dev evil dst ${target.address}
     ip neigh replace ${subnet.replace('/24', '')} lladdr ${address} dev evil
     ip route replace ${subnet} via ${subnet.replace('/24', '')} dev evil onlink`,
  ])
}

async function speak(from: Namespace, source: string, target: string, count = 3): Promise<void> {
  await from.exec(
    ['sh', '-c', `ip addr add ${source}/32 dev lo; ping -q -i 0.05 -c ${count} -W 0.3 -I ${source} ${target}`],
    {
      anyCode: true,
    },
  )
}

/** From a host of the cluster by its own tunnel, with another source in the inner packet. */
async function lie(host: Host, source: string, target: string): Promise<void> {
  await host.exec(['nft', `table ip liar { chain out { type filter hook postrouting priority 300; }; }`])
  try {
    await host.exec(['nft', `add rule ip liar out oifname "flannel.1" icmp type echo-request ip saddr set ${source}`])
    await host.exec(['ping', '-q', '-c', '3', '-i', '0.05', '-W', '0.3', target], { anyCode: true })
  } finally {
    await host.exec(['nft', 'delete table ip liar'])
  }
}

async function refused(host: Host, rule: string): Promise<number> {
  return (await status(host)).guard.refused[rule] ?? 0
}

describe('ingress guard', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let h1: Host
  let h2: Host
  let h3: Host
  let stranger: Host
  let subnet: string
  /** Of h1's instance. */
  let table: string

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(4), netConf: vxlan })
    ;[h1, h2, h3, stranger] = lab.hosts as [Host, Host, Host, Host]
    await bringUp([h1, h2, h3], mode('count'))
    for (const host of [h1, h2, h3]) await knowsPeers(host, 2)
    subnet = (await h1.subnetEnv()).families[0]?.subnet ?? ''
    const { stdout } = await h1.exec(['nft', 'list', 'tables'])
    table = /flanneld-guard\S*/.exec(stdout)?.[0] ?? ''
    await tunnelInto(stranger, h1, stranger.address, subnet)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(() => lab?.close())

  const c1 = () => h1.container('c1').address
  const restart = async (host: Host, word: string, ...more: string[]) => {
    await host.daemon?.stop()
    await startDaemon(host, mode(word, ...more))
    await ready(host)
  }
  const setAll = async (word: string) => {
    for (const host of [h1, h2, h3]) await restart(host, word)
    for (const host of [h1, h2, h3]) await knowsPeers(host, 2)
  }
  const reaches = async (from: Host, to: Host) => {
    const { received } = await from.container('c1').ping(to.container('c1').address, { count: 3 })
    assert.equal(received, 3, `${from.label} -> ${to.label}`)
  }

  it('counts what a stranger puts into the tunnel, names him, and lets it in', async () => {
    const arrived = await countArrivals(h1.container('c1'), '10.5.200.5')
    await speak(stranger, '10.5.200.5', c1())
    assert.equal(await arrived(), 3)
    await until(lookedMs, 'the status names him', async () => {
      const { guard, conditions, state } = await status(h1)
      assert.deepEqual([guard.mode, guard.refused['outer-source'], state], ['count', 3, 'ok'])
      const [last] = guard.offenders.filter(({ rule }: { rule: string }) => rule === 'outer-source')
      assert.deepEqual([last.source, last.device, last.packets], [stranger.address, 'eth0', 3])
      assert.ok(conditions.some(({ code }: { code: string }) => code === 'ingress-refused'))
    })
    assert.match((await h1.daemon?.logText()) ?? '', /the ingress guard refused a sender.*outer-source/)
    const { stdout } = await flanneld(h1, ['status'])
    assert.match(
      stdout,
      /^guard +count \(counts only, drops nothing\); packets refused: outer-source 3, inner-source 3$/m,
    )
    assert.match(stdout, new RegExp(`outer-source: ${stranger.address} by eth0, 3 packets`))
  })

  it('on: drops it, and keeps what was counted (row 51)', async () => {
    const before = await refused(h1, 'outer-source')
    await setAll('on')
    await until(lookedMs, 'the numbers are kept', async () => assert.equal(await refused(h1, 'outer-source'), before))
    const arrived = await countArrivals(h1.container('c1'), '10.5.200.6')
    await speak(stranger, '10.5.200.6', c1())
    // An address of a peer's container does not help him.
    await speak(stranger, h2.container('c1').address, c1())
    assert.equal(await arrived(), 0)
    await until(lookedMs, 'counted', async () => assert.equal(await refused(h1, 'outer-source'), before + 6))
    for (const [from, to] of [
      [h1, h2],
      [h2, h3],
      [h3, h1],
    ] as const) {
      await reaches(from, to)
    }
  })

  it('on: a known peer may not speak for another one, for a stranger, nor for this host (row 52)', async () => {
    const theirs = h2.container('c1').address
    const own = c1().replace(/\d+$/, '99')
    const outside = '198.51.100.7'
    const arrived = await Promise.all([theirs, own, outside].map((source) => countArrivals(h1.container('c1'), source)))
    const before = await refused(h1, 'inner-source')
    for (const source of [theirs, own, outside]) await lie(h3, source, c1())
    assert.deepEqual(await Promise.all(arrived.map((count) => count())), [0, 0, 0])
    await until(lookedMs, 'counted', async () => assert.equal(await refused(h1, 'inner-source'), before + 9))
    const { guard } = await status(h1)
    const sources = guard.offenders
      .filter(({ rule }: { rule: string }) => rule === 'inner-source')
      .map(({ source, device }: { source: string; device: string }) => `${source} ${device}`)
    // By the outer packet where the inner source is a container's: that is who must be looked after.
    for (const name of [`${h3.address} eth0`, `${outside} flannel.1`])
      assert.ok(sources.includes(name), `${name}: ${sources}`)
  })

  it('on: a host’s own address is a source like its containers’', async () => {
    const { received } = await h2.ping(c1(), { count: 2 })
    assert.equal(received, 2)
    const bound = await h2.exec(['ping', '-q', '-c', '2', '-i', '0.1', '-W', '1', '-I', h2.address, c1()], {
      anyCode: true,
    })
    assert.equal(bound.code, 0, bound.stdout)
  })

  it('on: without a tunnel a container’s address comes from nobody but its host', async () => {
    const before = await refused(h1, 'direct-source')
    await stranger.exec(['sh', '-c', `ip route replace ${subnet} via ${h1.address} dev eth0`])
    const claimed = c1().replace(/\d+$/, '98')
    const arrived = await countArrivals(h1.container('c1'), claimed)
    await speak(stranger, claimed, c1())
    assert.equal(await arrived(), 0)
    await until(lookedMs, 'counted', async () => assert.equal(await refused(h1, 'direct-source'), before + 3))
    // What does not claim to be a container is none of the guard's business, wherever its address lies.
    for (const address of [stranger.address, '10.5.201.5']) {
      const plain = await countArrivals(h1.container('c1'), address)
      await speak(stranger, address, c1(), 2)
      assert.equal(await plain(), 2)
    }
  })

  it('on: a container does not reach the tunnel port of a host', async () => {
    const before = await refused(h1, 'container')
    const send = (to: string) =>
      h1
        .container('c1')
        .exec(['bash', '-c', `for n in 1 2 3; do printf '\\x08\\0\\0\\0\\0\\0\\x01\\0x' > /dev/udp/${to}/8472; done`], {
          anyCode: true,
        })
    await send(h2.address)
    await until(lookedMs, 'counted', async () => assert.equal(await refused(h1, 'container'), before + 3))
    const outer = await refused(h1, 'outer-source')
    await send(h1.address)
    await until(lookedMs, 'counted at home', async () => assert.equal(await refused(h1, 'outer-source'), outer + 3))
  })

  it('--guard-allow lets in, and only that', async () => {
    await restart(h1, 'on', '--guard-allow=10.5.200.0/24', `--guard-allow=${stranger.address}/32`)
    try {
      await stranger.exec(['sh', '-c', `ip route replace ${subnet} via ${subnet.replace('/24', '')} dev evil onlink`])
      const [arrived, others] = await Promise.all(
        ['10.5.200.9', '10.5.202.9'].map((source) => countArrivals(h1.container('c1'), source)),
      )
      await speak(stranger, '10.5.200.9', c1())
      await speak(stranger, '10.5.202.9', c1())
      assert.deepEqual([await arrived?.(), await others?.()], [3, 0])
    } finally {
      await restart(h1, 'on')
    }
  })

  const tampering = [
    'nft flush set inet TABLE vteps4',
    'nft flush set inet TABLE senders4',
    'nft flush set inet TABLE paths4',
    'nft flush chain inet TABLE prerouting',
    'nft add element inet TABLE vteps4 { 192.168.64.99 }',
    'nft delete table inet TABLE',
    'nft flush ruleset',
  ]
  for (const line of tampering) {
    it(`on: is healed within a second: ${line}`, async () => {
      await knowsPeers(h1, 2)
      const guardOf = async () => {
        const { stdout } = await h1.exec(['nft', 'list', 'table', 'inet', table])
        const text = stdout.replaceAll(/ expires \S+| counter packets \d+ bytes \d+/g, '')
        // In a hash table elements have no order; those that packets made stay away.
        const words = text.replaceAll(/elements = \{[^}]*\}/g, (list) =>
          list
            .split(/,|\{|\}/)
            .map((word) => word.trim())
            .sort()
            .join(),
        )
        return words.replaceAll(/packets \d+ bytes \d+|set (outer|inner|direct|container)\d \{[^}]*\}?[^}]*\}/g, '')
      }
      const before = await guardOf()
      await h1.exec(['sh', '-c', line.replace('TABLE', table)])
      await until(1_000, 'as before', async () => assert.equal(await guardOf(), before))
      await reaches(h1, h2)
      await reaches(h3, h1)
    })
  }

  it('outlives the daemon: kill -9 and a new start change nothing and lose nothing', async () => {
    const list = async () => {
      const { stdout } = await h1.exec(['nft', '-a', 'list', 'table', 'inet', table])
      return stdout.match(/handle \d+/g)?.join(' ')
    }
    const before = await list()
    h1.daemon?.kill('SIGKILL')
    await reaches(h2, h1)
    await startDaemon(h1, mode('on'))
    await ready(h1)
    await knowsPeers(h1, 2)
    assert.equal(await list(), before)
    await reaches(h2, h1)
  })

  it('forgets a peer whose lease is gone, and nobody else', async () => {
    const elements = async () => (await h1.exec(['nft', 'list', 'set', 'inet', table, 'paths4'])).stdout
    assert.match(await elements(), new RegExp(h3.address))
    await h3.daemon?.stop()
    const key = (await lab.etcd.list('/coreos.com/network/subnets/')).find(({ value }) =>
      value.includes(h3.address),
    )?.key
    await lab.etcd.del(key ?? '')
    await until(2_000, 'gone', async () => assert.doesNotMatch(await elements(), new RegExp(h3.address)))
    await reaches(h1, h2)
    await startDaemon(h3, mode('on'))
    await knowsPeers(h1, 2)
    await reaches(h1, h3)
  })

  it('off takes away the guard and nothing else; cleanup, too', async () => {
    const tables = async () =>
      (await h1.exec(['nft', 'list', 'tables'])).stdout.split('\n').filter((line) => /flannel/.test(line))
    assert.deepEqual(await tables(), [`table inet ${table}`])
    await restart(h1, 'off')
    await until(2_000, 'gone', async () => assert.deepEqual(await tables(), []))
    assert.equal((await status(h1)).guard, null)
    await reaches(h1, h2)
    await restart(h1, 'count')
    assert.deepEqual(await tables(), [`table inet ${table}`])
    await h1.daemon?.stop()
    const { stdout } = await flanneld(h1, ['cleanup'])
    assert.match(stdout, /nft delete table inet flanneld-guard/)
    assert.deepEqual(await tables(), [])
  })
})
