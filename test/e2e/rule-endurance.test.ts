import assert from 'node:assert/strict'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { repeat } from '../long.ts'
import { needs } from '../needs.ts'
import { childFaults } from './process-figures.ts'
import { healedAfter, iptablesRules, rulePlaces } from './rules.ts'
import { countInLog, logsInFailure, oneSegment, ready, startDaemon, steady, vxlan } from './world.ts'

const flushes = repeat(10, 100)
/** More than 30 repairs of one object within a minute would be a fight, in which it is repaired every 5 s only. */
const spaceMs = repeat(300, 2_200)
const idleMs = repeat(60_000, 60 * 60_000)

const pause = async (ms: number) => await systemClock.sleep(ms, AbortSignal.timeout(ms + 60_000))

const all = ['-t nat -F', '-F FORWARD', '-t nat -F POSTROUTING', '-t nat -D POSTROUTING 1', '-F']
const worlds = {
  nftables: {
    flushes: ['nft flush ruleset', 'nft flush table ip $TABLE4', 'nft delete table ip6 $TABLE6'],
    limitMs: 1_000,
  },
  'iptables-nft': { flushes: ['nft flush ruleset', ...all.map((args) => `iptables-nft ${args}`)], limitMs: 1_000 },
  // Nobody tells of changes there: one period, and the time that the programs take.
  'iptables-legacy': { flushes: all.map((args) => `iptables-legacy ${args}`), limitMs: 2_000 },
} as const

for (const [world, { flushes: lines, limitMs }] of Object.entries(worlds)) {
  describe(`rules that are flushed again and again, ${world}`, function () {
    needs(this, 'netns', 'etcd')
    this.timeout(120_000 + flushes * (spaceMs + 6_000))
    let lab: Lab

    before(async () => {
      // Both families: the second must be as it was, too.
      const dual = { ...vxlan, EnableIPv6: true, IPv6Network: 'fd05::/48', EnableNFTables: world === 'nftables' }
      const [segment] = oneSegment(1)
      lab = await Lab.create({
        segments: [{ name: 'lan1', hosts: ['h1'], subnet: '192.168.64.0/24', ...segment, subnet6: 'fd00:64::/64' }],
        netConf: dual,
      })
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(() => lab?.close())

    it(`are healed within ${world === 'iptables-legacy' ? 'one period' : 'a second'} each time, none doubled`, async () => {
      const host = lab.host('h1')
      // What the host has in one world decides where ours go.
      if (world === 'iptables-legacy') {
        await host.exec([
          'sh',
          '-c',
          'for n in 1 2 3; do iptables-legacy -t raw -A OUTPUT -p tcp --dport 1$n -j ACCEPT; done',
        ])
        await host.exec(['sh', '-c', 'for n in 1 2 3; do iptables-legacy -A INPUT -p tcp --dport 1$n -j ACCEPT; done'])
      }
      await startDaemon(host, { args: ['--ip-masq', '--iptables-resync=1'] })
      await ready(host)
      // Behind the last reading back of what was written.
      await steady(1_000, () => rulePlaces(host))
      const tables = (await host.exec(['nft', 'list', 'tables'])).stdout
      const look = async () => {
        const own = world === 'nftables' ? await nftRules() : []
        if (world === 'nftables') return own
        return [...(await iptablesRules(host, world)), ...(await iptablesRules(host, world.replace('ip', 'ip6')))]
      }
      const nftRules = async () => {
        const { stdout } = await host.exec(['nft', 'list', 'ruleset'])
        return stdout
          .split('\n')
          .filter((line) => /flannel/.test(line))
          .sort()
      }
      const name = (line: string) =>
        line
          .replace('$TABLE4', /flannel-ipv4\S*/.exec(tables)?.[0] ?? '')
          .replace('$TABLE6', /flannel-ipv6\S*/.exec(tables)?.[0] ?? '')
      for (let count = 0; count < flushes; count += 1) {
        await healedAfter(host, name(lines[count % lines.length] ?? ''), look, limitMs)
        await pause(spaceMs)
      }
      assert.equal(await countInLog(host, /again and again/), 0)
    })
  })
}

describe('a host on which nothing happens', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(idleMs + 240_000)

  it(`sees no program started in ${idleMs / 60_000} min, with rules of iptables or nftables`, async () => {
    const labs = await Promise.all(
      [false, true].map(
        async (nft) => await Lab.create({ segments: oneSegment(1), netConf: { ...vxlan, EnableNFTables: nft } }),
      ),
    )
    try {
      const hosts = labs.map((lab) => lab.host('h1'))
      for (const host of hosts) await startDaemon(host, { args: ['--ip-masq'] })
      for (const host of hosts) await ready(host)
      // What was written is read back.
      const before = await steady(3_000, () => Promise.all(hosts.map(({ daemon }) => childFaults(daemon?.pid ?? 0))))
      assert(before.every((count) => count > 0))
      await pause(idleMs)
      assert.deepEqual(await Promise.all(hosts.map(({ daemon }) => childFaults(daemon?.pid ?? 0))), before)
    } finally {
      for (const lab of labs) await lab.close()
    }
  })
})
