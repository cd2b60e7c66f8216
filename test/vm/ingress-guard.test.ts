import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { leasePrefix, logsInFailure, oneSegment, status } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { allKnow, bringUp, ipip, loadFou, patience, patiently, udp } from './tunnel-world.ts'

const cases = [
  { ...ipip, outer: '', lease: { BackendType: 'ipip' } },
  { ...udp, outer: 'encap fou encap-sport 8285 encap-dport 8285', lease: {} },
] as const

for (const { title, backend, device, outer, lease } of cases) {
  describe(`ingress guard with ${title}`, function () {
    needs(this, 'netns', 'etcd')
    this.timeout(4 * patience)
    let lab: Lab
    let [h1, h2, stranger]: Host[] = []

    before(async () => {
      loadFou()
      const netConf = { Network: '10.5.0.0/16', SubnetMin: '10.5.100.0', Backend: backend }
      lab = await Lab.create({ segments: oneSegment(3), netConf })
      ;[h1, h2, stranger] = lab.hosts as [Host, Host, Host]
      // Without an expiry it would be a reservation.
      const expiry = await lab.etcd.grantLease(86_400)
      const value = JSON.stringify({ PublicIP: '192.168.64.107', ...lease })
      await lab.etcd.putAll([[`${leasePrefix}10.5.7.0-24`, value]], { lease: expiry })
      await bringUp([h1, h2], { args: ['--ingress-guard=on'] })
      await allKnow([h1, h2], 2)
    })
    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })
    after(async () => await lab?.close())

    const refused = async (rule: string): Promise<number> => (await status(h1 as Host)).guard.refused[rule] ?? 0
    const heard = async (source: string) => {
      const { stdout } = await (h1 as Host).container('c1').exec(['nft', 'list', 'table', 'ip', 'judge'])
      return Number(new RegExp(`saddr ${source} counter packets (\\d+)`).exec(stdout)?.[1])
    }
    const watchFor = async (source: string) => {
      const c1 = (h1 as Host).container('c1')
      await c1.exec(['nft', 'table ip judge { chain c { type filter hook input priority 0; }; }'])
      await c1.exec(['nft', `add rule ip judge c ip saddr ${source} counter`])
    }

    it('peers reach each other', async () => {
      assert(h1 && h2)
      for (const [from, to] of [
        [h1, h2],
        [h2, h1],
      ] as const) {
        const { received } = await from.container('c1').ping(to.container('c1').address, { count: 2, wait: 3_000 })
        assert.equal(received, 2, `${from.label} -> ${to.label}`)
      }
      const bound = ['ping', '-q', '-c', '1', '-W', '3', '-I', h2.address, h1.container('c1').address]
      assert.equal((await h2.exec(bound, { anyCode: true })).code, 0, 'by the address of the host')
    })

    it('a stranger gets nothing in (row 51)', async () => {
      assert(h1 && stranger)
      await watchFor('10.5.200.5')
      const before = await refused('outer-source')
      const subnet = (await h1.subnetEnv()).families[0]?.subnet
      await stranger.exec([
        'sh',
        '-ec',
        `ip link add evil type ipip local ${stranger.address} remote ${h1.address} ${outer}
         ip link set evil up
         ip addr add 10.5.200.5/32 dev evil
         ip route add ${subnet} dev evil`,
      ])
      const ping = ['ping', '-q', '-c', '3', '-i', '0.2', '-W', '1', '-I', '10.5.200.5', h1.container('c1').address]
      await stranger.exec(ping, { anyCode: true })
      await patiently('counted', async () => assert.equal(await refused('outer-source'), before + 3))
      assert.equal(await heard('10.5.200.5'), 0)
    })

    it('a peer does not speak for another one (row 52)', async () => {
      assert(h1 && h2)
      await watchFor('10.5.7.9')
      const before = await refused('inner-source')
      await h2.exec(['nft', 'table ip liar { chain out { type filter hook postrouting priority 300; }; }'])
      await h2.exec(['nft', `add rule ip liar out oifname "${device}" icmp type echo-request ip saddr set 10.5.7.9`])
      const ping = ['ping', '-q', '-c', '3', '-i', '0.2', '-W', '1', h1.container('c1').address]
      await h2.exec(ping, { anyCode: true })
      await patiently('counted', async () => assert.equal(await refused('inner-source'), before + 3))
      assert.equal(await heard('10.5.7.9'), 0)
    })
  })
}
