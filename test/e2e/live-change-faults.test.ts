import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { long } from '../long.ts'
import { needs, peerProgram } from '../needs.ts'
import { ChangingHosts, sendsBy } from './changing-hosts.ts'
import { flanneld, knowsPeers, leaseOf, logsInFailure, oneSegment, ready, startDaemon, status, until } from './world.ts'

const config = (backend: object) => ({ Network: '10.5.0.0/16', Backend: backend })
const VXLAN = { Type: 'vxlan' }
const HOST_GW = { Type: 'host-gw' }
const options = { args: ['--ingress-guard=on'] }

describe('a change of the backend that is disturbed', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(240_000)
  let lab: Lab
  let hosts: readonly Host[]
  let changing: ChangingHosts

  const begin = async (start: (host: Host, place: number) => Promise<unknown>) => {
    // As on Red Hat's hosts: a packet that comes by another way than ours goes is lost.
    lab = await Lab.create({ segments: oneSegment(3), rpFilter: 1, netConf: config(VXLAN) })
    hosts = lab.hosts
    await Promise.all(hosts.map(start))
    for (const host of hosts) {
      await host.subnetEnv()
      await host.addContainer('c1')
    }
    changing = await ChangingHosts.start(hosts)
  }
  const ours = async (host: Host) => await startDaemon(host, options)

  afterEach(async function () {
    await changing?.stop()
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  const change = async (backend: object) => {
    await lab.configure(config(backend))
    for (const host of hosts) if (host.daemon?.running) await flanneld(host, ['switch']).catch(() => undefined)
  }

  const settled = async (device: string) =>
    await changing.settled({ device, tunnel: device === 'eth0' ? undefined : device }, async (host) => {
      const { Accepts, Sends } = JSON.parse((await leaseOf(lab, host)).value)
      assert.deepEqual([Accepts, Sends], [undefined, undefined])
    })

  const severityOf = async (host: Host) => {
    const { conditions } = await status(host)
    return conditions.find(({ code }: { code: string }) => code === 'backend-changing')?.severity
  }
  const pause = async (ms: number) => await systemClock.sleep(ms, AbortSignal.timeout(60_000))

  it('by daemons that are killed at any moment of it goes on and ends', async () => {
    await begin(ours)
    const kills = long ? 50 : 10
    for (let kill = 0; kill < kills; kill += 1) {
      if (kill % 2 === 0) await change(kill % 4 === 0 ? HOST_GW : VXLAN)
      await pause((kill * 377) % 1_900)
      const host = hosts[kill % hosts.length] as Host
      host.daemon?.kill('SIGKILL')
      await until(5_000, 'it is dead', async () => assert.equal(host.daemon?.running, false))
      await ours(host)
    }
    await change(HOST_GW)
    await settled('eth0')
    await changing.nothingLost()
  })

  it('by another change of mind goes back, or on to a third backend', async () => {
    await begin(ours)
    await change(HOST_GW)
    await pause(700)
    await change(VXLAN)
    await settled('flannel.1')
    await lab.configure(config(HOST_GW))
    await change({ Type: 'vxlan', VNI: 7 })
    await settled('flannel.7')
    await changing.nothingLost()
  })

  it('by an etcd that is away in the middle goes on when it is back', async () => {
    await begin(ours)
    await lab.configure(config(HOST_GW))
    await pause(500)
    await lab.etcd.crash()
    await pause(4_000)
    for (const host of hosts) assert.ok((await status(host)).backendChange !== null, `${host.label} has changed`)
    await changing.nothingLost()
    await lab.etcd.restart()
    await settled('eth0')
    await changing.nothingLost()
  })

  it('by a host that is away leaves that host the old backend until it is back', async () => {
    await begin((host) => startDaemon(host, { args: [...options.args, ...(host.label === 'h1' ? ['--drain=0'] : [])] }))
    const [h1, h2, h3] = hosts as [Host, Host, Host]
    await h3.daemon?.stop()
    await change(HOST_GW)
    await until(30_000, 'the others have moved', async () => {
      assert.deepEqual([await sendsBy(h1, h2), await sendsBy(h2, h1)], ['eth0', 'eth0'])
      assert.deepEqual([await sendsBy(h1, h3), await sendsBy(h3, h1)], ['flannel.1', 'flannel.1'])
      const { backendChange } = await status(h1)
      assert.match(JSON.stringify(backendChange.waiting), /does not receive by host-gw yet/)
      // Whose time to wait is over says it louder.
      assert.deepEqual([await severityOf(h1), await severityOf(h2)], ['warning', 'info'])
    })
    await ours(h3)
    await settled('eth0')
    await changing.nothingLost()
  })

  it('by a firewall that eats the probes leaves the old backend, and says what is missing', async () => {
    await begin(ours)
    const [h1, h2] = hosts as [Host, Host]
    const drop =
      'add table ip test; add chain ip test in { type filter hook input priority 0; }; add rule ip test in udp dport 8473 drop'
    await h2.exec(['nft', drop])
    await change(HOST_GW)
    await until(30_000, 'it is named', async () => {
      const { backendChange, ready: isReady } = await status(h1)
      assert.equal(isReady, true)
      assert.match(JSON.stringify(backendChange.waiting), /no probe is answered/)
      assert.equal(await sendsBy(h1, h2), 'flannel.1')
    })
    await changing.nothingLost()
    await h2.exec(['nft', 'delete table ip test'])
    await settled('eth0')
    await changing.nothingLost()
  })

  // As clouds' networks are unless they are told otherwise: port security of OpenStack, the source and destination check of AWS.
  it('by a link that takes no addresses of containers leaves DirectRouting to the tunnel, and says what is missing', async () => {
    await begin(ours)
    const [h1, h2, h3] = hosts as [Host, Host, Host]
    const drop =
      'add table netdev test; add chain netdev test in { type filter hook ingress device eth0 priority 0; }; add rule netdev test in ip saddr 10.5.0.0/16 drop'
    await h2.exec(['nft', drop])
    await h3.daemon?.stop()
    await change({ ...VXLAN, DirectRouting: true })
    await until(30_000, 'it is named', async () => {
      const { backendChange, notReady } = await status(h1)
      assert.deepEqual(notReady, [])
      const waiting = JSON.stringify(backendChange.waiting)
      assert.match(waiting, /no probe is answered/)
      assert.match(waiting, /does not receive by vxlan.* yet/)
      for (const to of [h2, h3]) assert.equal(await sendsBy(h1, to), 'flannel.1')
    })
    await changing.nothingLost()
    // One that knows nothing of an earlier run is no way to an unproven path either.
    await h3.exec(['sh', '-c', `rm ${h3.paths.stateDir}/*/ways.json`])
    await ours(h3)
    await ready(h3)
    await until(20_000, 'h3 sends by the tunnel to whom the link does not lead', async () => {
      assert.equal(await sendsBy(h3, h1), 'eth0')
      assert.equal(await sendsBy(h3, h2), 'flannel.1')
    })
    await changing.nothingLost()
    await h2.exec(['nft', 'delete table netdev test'])
    await changing.settled({ device: 'eth0', tunnel: 'flannel.1', ms: 90_000 }, async () => {})
    await changing.nothingLost()
  })

  it('by a path that is blocked after the move goes back for that peer alone, and moves it again when the path is free', async () => {
    await begin(ours)
    const [h1, h2, h3] = hosts as [Host, Host, Host]
    // As long as it needs the old way, that stands for all.
    await h3.daemon?.stop()
    await change(HOST_GW)
    await until(30_000, 'the others have moved', async () =>
      assert.deepEqual([await sendsBy(h1, h2), await sendsBy(h2, h1)], ['eth0', 'eth0']),
    )
    const drop = `add table bridge test; add chain bridge test way { type filter hook forward priority 0; }; add rule bridge test way ip saddr 10.5.0.0/16 ip daddr ${h2.container('c1').address}/24 drop`
    await lab.router.exec(['nft', drop])
    // It is asked every 10 s, then three times.
    await until(40_000, 'it has gone back', async () => {
      assert.equal(await sendsBy(h1, h2), 'flannel.1')
      assert.match(JSON.stringify((await status(h1)).backendChange.waiting), /no probe is answered/)
    })
    assert.match((await h1.daemon?.logText()) ?? '', /peer moved back/)
    const { judges } = changing
    const [judge] = judges.filter(({ address }) => address === h2.container('c1').address)
    const received = judge?.verdict().received ?? 0
    await until(10_000, 'packets arrive by the old way', async () =>
      assert.ok((judge?.verdict().received ?? 0) > received + 25),
    )
    assert.equal(await sendsBy(h1, h3), 'flannel.1')
    await lab.router.exec(['nft', 'delete table bridge test'])
    await ours(h3)
    await settled('eth0')
    for (const judge of judges) if (judge.address === h3.container('c1').address) assert.equal(judge.verdict().lost, 0)
  })

  it('by a backend that this host cannot have leaves it the old one, and says so', async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: config(VXLAN) })
    const host = lab.host('h1')
    await startDaemon(host, { args: ['--public-ip=203.0.113.5', '--iface=eth0'] })
    await ready(host)
    await lab.configure(config(HOST_GW))
    await until(15_000, 'it is named', async () => {
      const { backendChange, conditions, notReady } = await status(host)
      assert.deepEqual(notReady, [])
      assert.match(backendChange.obstacle, /public-ip: must be an address of this host/)
      const codes = conditions.map(({ code }: { code: string }) => code)
      assert.ok(codes.includes('backend-change-blocked'), codes.join())
    })
    await host.ip('link', 'show', 'dev', 'flannel.1')
    await lab.configure(config(VXLAN))
    await until(15_000, 'it is as before', async () => assert.equal((await status(host)).backendChange, null))
    assert.equal(host.daemon?.running, true)
  })
})

describe("a change of the backend beside flannel's daemon", function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(240_000)
  let lab: Lab
  let changing: ChangingHosts

  afterEach(async function () {
    await changing?.stop()
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  it('moves ours, keeps what flannel needs, and follows flannel when that is restarted', async () => {
    lab = await Lab.create({ segments: oneSegment(3), netConf: config(VXLAN) })
    const [h1, h2, h3] = lab.hosts as [Host, Host, Host]
    const flannel = { program: peerProgram('peer:flanneld') }
    await Promise.all([startDaemon(h1, flannel), startDaemon(h2), startDaemon(h3)])
    for (const host of lab.hosts) {
      await host.subnetEnv()
      await host.addContainer('c1')
    }
    for (const host of [h2, h3]) await knowsPeers(host, 2)
    changing = await ChangingHosts.start(lab.hosts)
    await lab.configure(config(HOST_GW))
    await until(30_000, 'ours have moved', async () => {
      assert.deepEqual([await sendsBy(h2, h3), await sendsBy(h3, h2)], ['eth0', 'eth0'])
      assert.deepEqual([await sendsBy(h2, h1), await sendsBy(h1, h2)], ['flannel.1', 'flannel.1'])
      assert.equal(JSON.parse((await leaseOf(lab, h2)).value).BackendType, 'vxlan')
      assert.match(JSON.stringify((await status(h2)).backendChange.waiting), /is a host of flannel/)
    })
    for (const judge of changing.judges) assert.equal(judge.verdict().lost, 0)
    await h1.daemon?.stop()
    await startDaemon(h1, flannel)
    await until(30_000, 'all have moved', async () => {
      for (const from of lab.hosts)
        for (const to of lab.hosts) if (from !== to) assert.equal(await sendsBy(from, to), 'eth0')
      for (const host of [h2, h3]) {
        assert.equal((await status(host)).backendChange, null)
        assert.equal(JSON.parse((await leaseOf(lab, host)).value).BackendType, 'host-gw')
      }
    })
    for (const judge of changing.judges) assert.equal(judge.verdict().lost, 0)
  })

  it('that turns DirectRouting on and off asks no host of flannel, which sends directly itself', async () => {
    lab = await Lab.create({ segments: oneSegment(3), netConf: config(VXLAN) })
    const [h1, h2, h3] = lab.hosts as [Host, Host, Host]
    await Promise.all([startDaemon(h1, { program: peerProgram('peer:flanneld') }), startDaemon(h2), startDaemon(h3)])
    for (const host of lab.hosts) {
      await host.subnetEnv()
      await host.addContainer('c1')
    }
    for (const host of [h2, h3]) await knowsPeers(host, 2)
    changing = await ChangingHosts.start(lab.hosts)
    for (const [backend, device] of [
      [{ ...VXLAN, DirectRouting: true }, 'eth0'],
      [VXLAN, 'flannel.1'],
    ] as const) {
      await lab.configure(config(backend))
      await until(30_000, `ours send by ${device}`, async () => {
        for (const from of [h2, h3]) {
          for (const to of lab.hosts) if (from !== to) assert.equal(await sendsBy(from, to), device)
          assert.equal((await status(from)).backendChange, null)
        }
      })
      await changing.nothingLost()
    }
  })
})
