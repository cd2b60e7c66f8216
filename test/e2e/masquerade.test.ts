import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs, peerProgram } from '../needs.ts'
import { answer, contractRules, healedAfter, iptablesRules, outside, routeBack, rulePlaces, seenAs } from './rules.ts'
import { bringUp, flanneld, logsInFailure, oneSegment, ready, startDaemon, status, until, vxlan } from './world.ts'

const masq = { args: ['--ip-masq'] }

for (const tool of ['iptables', 'nftables'] as const) {
  describe(`masquerade with ${tool}`, function () {
    needs(this, 'netns', 'etcd')
    this.timeout(180_000)
    let lab: Lab
    let h1: Host
    let h2: Host

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(2), netConf: { ...vxlan, EnableNFTables: tool === 'nftables' } })
      h1 = lab.host('h1')
      h2 = lab.host('h2')
      await bringUp(lab.hosts, masq)
      await answer(lab.controlPlane)
      await answer(h2.container('c1'))
      await answer(h2)
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(() => lab?.close())

    const c1 = () => h1.container('c1')
    const rules = async (): Promise<readonly string[]> => {
      if (tool === 'iptables') return await iptablesRules(h1)
      const { stdout } = await h1.exec([
        'sh',
        '-c',
        'for f in 4 6; do nft list ruleset | grep -c flanneld; nft list tables; done',
      ])
      return stdout.split('\n').sort()
    }

    it('shows the outside world the host’s address', async () => {
      assert.equal(await seenAs(c1(), outside), h1.address)
    })

    it('shows other containers the container’s own address', async () => {
      assert.equal(await seenAs(c1(), h2.container('c1').address), c1().address)
    })

    if (tool === 'iptables') {
      it('lets forwarded traffic through where the FORWARD policy drops', async () => {
        await h1.exec(['iptables-nft', '-P', 'FORWARD', 'DROP'])
        try {
          assert.equal(await seenAs(c1(), h2.container('c1').address), c1().address)
          assert.equal(await seenAs(c1(), outside), h1.address)
        } finally {
          await h1.exec(['iptables-nft', '-P', 'FORWARD', 'ACCEPT'])
        }
      })

      it('is the contract’s, rule by rule', async () => {
        const { families } = await h1.subnetEnv()
        assert.deepEqual(await rules(), [...contractRules(families[0]?.subnet ?? '')].sort())
      })
    }

    const harm =
      tool === 'iptables'
        ? [
            'nft flush ruleset',
            'iptables-nft -t nat -F',
            'iptables-nft -F FORWARD',
            'iptables-nft -t nat -F POSTROUTING',
            'iptables-nft -t nat -F $(iptables-nft-save | grep -o "^:FLANNEL-POSTRTG[^ ]*" | tr -d :)',
          ]
        : [
            'nft flush ruleset',
            'nft flush table ip $(nft list tables | grep -o "flannel-ipv4.*")',
            'nft delete table ip6 $(nft list tables | grep -o "flannel-ipv6.*")',
          ]
    for (const line of harm) {
      it(`is healed within a second: ${line.replace(/\$\(.*\)/, '...')} (row 43)`, async () => {
        for (let count = 0; count < 3; count += 1) await healedAfter(h1, line, rules)
        assert.equal(await seenAs(c1(), outside), h1.address)
      })
    }

    it('spares exempt destinations', async () => {
      await h1.daemon?.stop()
      await startDaemon(h1, { args: ['--ip-masq', '--masq-exempt=192.0.2.0/24', '--masq-exempt=fd00::/8'] })
      await ready(h1)
      await routeBack(lab)
      assert.equal(await seenAs(c1(), outside), c1().address)
    })

    it('ends with the option, and everything with the clean-up', async () => {
      await h1.daemon?.stop()
      await startDaemon(h1)
      await ready(h1)
      const forward = tool === 'iptables' ? ['iptables-nft FLANNEL-FWD'] : ['nft ip', 'nft ip6']
      await until(2_000, 'no masquerade', async () => assert.deepEqual(await rulePlaces(h1), forward))
      await h1.daemon?.stop()
      await startDaemon(h1, { args: ['--iptables-forward-rules=false'] })
      await until(2_000, 'no rules', async () => assert.deepEqual(await rulePlaces(h1), []))
      await h1.daemon?.stop()
      await startDaemon(h1, masq)
      await ready(h1)
      await h1.daemon?.stop()
      assert.notDeepEqual(await rulePlaces(h1), [])
      assert.equal((await flanneld(h1, ['cleanup'])).code, 0)
      assert.deepEqual(await rulePlaces(h1), [])
    })
  })
}

for (const tool of ['iptables', 'nftables'] as const) {
  describe(`masquerade of IPv6 with ${tool}`, function () {
    needs(this, 'netns', 'etcd')
    this.timeout(180_000)
    let lab: Lab
    let h1: Host
    let h2: Host
    /** The router: it knows no way back into the overlay. */
    const router = 'fd00:64::1'

    before(async () => {
      const [segment] = oneSegment(2)
      const dual = { ...vxlan, EnableIPv6: true, IPv6Network: 'fd05::/48', EnableNFTables: tool === 'nftables' }
      lab = await Lab.create({
        segments: [{ name: 'lan1', subnet: '', hosts: [], ...segment, subnet6: 'fd00:64::/64' }],
        netConf: dual,
      })
      h1 = lab.host('h1')
      h2 = lab.host('h2')
      await bringUp(lab.hosts, masq)
      for (const host of lab.hosts) await ready(host)
      for (const place of [lab.router, h2.container('c1')]) await answer(place)
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(() => lab?.close())

    const address6 = (host: Host) => host.container('c1').addresses.find((address) => address.includes(':')) ?? ''

    it('shows the outside world the host’s address', async () => {
      assert.equal(await seenAs(h1.container('c1'), router), 'fd00:64::b')
    })

    it('shows other containers the container’s own address', async () => {
      assert.equal(await seenAs(h1.container('c1'), address6(h2)), address6(h1))
    })

    it('lets forwarded traffic through where the FORWARD policy of ip6tables drops, or names it', async () => {
      await h1.exec(['ip6tables-nft', '-P', 'FORWARD', 'DROP'])
      try {
        if (tool === 'iptables') assert.equal(await seenAs(h1.container('c1'), address6(h2)), address6(h1))
        else {
          await until(2_000, 'named', async () => {
            const { conditions } = await status(h1)
            assert.match(JSON.stringify(conditions), /the policy of ip6tables-nft FORWARD drops/)
          })
        }
      } finally {
        await h1.exec(['ip6tables-nft', '-P', 'FORWARD', 'ACCEPT'])
      }
    })

    it('spares exempt destinations', async () => {
      await h1.daemon?.stop()
      await startDaemon(h1, { args: ['--ip-masq', '--masq-exempt=fd00:64::/64'] })
      await ready(h1)
      const { families } = await h1.subnetEnv()
      await lab.router.ip('-6', 'route', 'replace', families[1]?.subnet ?? '', 'via', 'fd00:64::b')
      assert.equal(await seenAs(h1.container('c1'), router), address6(h1))
    })
  })
}

describe('rules of other modes and other daemons', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab
  let host: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlan })
    host = lab.host('h1')
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(() => lab?.close())

  const iptables = ['iptables-nft FLANNEL-FWD', 'iptables-nft FLANNEL-POSTRTG']
  const nftables = ['nft ip', 'nft ip6']

  it('go when the mode is switched, both ways', async () => {
    for (const [nft, expected] of [
      [false, iptables],
      [true, nftables],
      [false, iptables],
    ] as const) {
      await host.daemon?.stop()
      await lab.configure({ ...vxlan, EnableNFTables: nft })
      await startDaemon(host, masq)
      await ready(host)
      await until(2_000, `mode ${nft}`, async () => assert.deepEqual(await rulePlaces(host), expected))
    }
  })

  it('follow the host’s own into the legacy tables, where they are polled', async () => {
    await host.daemon?.stop()
    await host.exec(['sh', '-c', 'for n in 1 2 3 4; do iptables-legacy -A INPUT -p tcp --dport 1$n -j ACCEPT; done'])
    try {
      await startDaemon(host, { args: ['--ip-masq', '--iptables-resync=1'] })
      await ready(host)
      const legacy = iptables.map((line) => line.replace('nft', 'legacy'))
      await until(2_000, 'legacy', async () => assert.deepEqual(await rulePlaces(host), legacy))
      const look = async () => await iptablesRules(host, 'iptables-legacy')
      for (const line of ['iptables-legacy -t nat -F', 'iptables-legacy -F FORWARD']) {
        await healedAfter(host, line, look, 2_000)
      }
    } finally {
      await host.exec(['iptables-legacy', '-F', 'INPUT'])
      await host.daemon?.stop()
      await flanneld(host, ['cleanup'])
    }
    assert.deepEqual(await rulePlaces(host), [])
  })

  describe('of flannel', function () {
    needs(this, 'peer:flanneld')

    for (const nft of [false, true]) {
      it(`make way: ${nft ? 'nftables' : 'iptables'}`, async () => {
        await host.daemon?.stop()
        await lab.configure({ ...vxlan, EnableNFTables: nft })
        await host.startDaemon({ program: peerProgram('peer:flanneld'), args: ['--ip-masq'] })
        const expected = nft ? nftables : iptables
        await until(10_000, 'flannel’s rules', async () => assert.deepEqual(await rulePlaces(host), expected))
        await host.subnetEnv()
        await host.daemon?.stop()
        await startDaemon(host, masq)
        await ready(host)
        // One set, in our own names.
        await until(2_000, 'taken over', async () => {
          // flannel's empty IPv6 table could be another daemon's, so it stays.
          assert.deepEqual([...new Set(await rulePlaces(host))], expected)
          const { stdout } = await host.exec(['sh', '-c', 'iptables-nft-save; nft list tables'])
          assert.doesNotMatch(stdout, /FLANNEL-POSTRTG |flannel-ipv4$/m)
        })
        await host.daemon?.stop()
        await flanneld(host, ['cleanup'])
      })
    }
  })
})
