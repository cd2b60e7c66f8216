import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { answer, healedAfter, iptablesRules, seenAs, unseenBy } from './rules.ts'
import { bringUp, knowsPeers, logsInFailure, oneSegment, ready, startDaemon, status, until, vxlan } from './world.ts'

describe('rules beside those of others', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(240_000)
  let lab: Lab
  let h1: Host
  let h2: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: { ...vxlan, EnableNFTables: true } })
    h1 = lab.host('h1')
    h2 = lab.host('h2')
    await bringUp(lab.hosts, { args: ['--ip-masq'] })
    await answer(h2.container('c1'))
    for (const host of lab.hosts) await knowsPeers(host, 1)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    // What the test has put in the way, whether it came to its end or not.
    const open = [
      ...['-P FORWARD ACCEPT', '-F FORWARD', '-F INPUT', '-t nat -F POSTROUTING'].map((args) => `iptables-nft ${args}`),
      // Where nobody has used them, asking would make them.
      'if [ -s /proc/net/ip_tables_names ]; then iptables-legacy -F FORWARD; fi',
      'nft delete table inet fw 2>/dev/null || true',
    ]
    await h1.exec(['sh', '-ec', open.join('\n')])
  })

  after(() => lab?.close())

  const reaches = async (expected: boolean) => {
    const [own, other] = [h1.container('c1'), h2.container('c1').address]
    if (expected) assert.equal(await seenAs(own, other), own.address)
    else assert.equal(await unseenBy(own, other), true)
  }
  const named = async (hook = 'forward'): Promise<readonly string[]> =>
    (await status(h1)).conditions
      .map(({ text }: { text: string }) => text)
      .filter((text: string) => text.includes('clear-path') && text.includes(hook))
  const remedyIn = (condition: string) => /open it with: ([^']*?)(?: \(EACCES\))?$/.exec(condition)?.[1] ?? ''

  it('open the chain that Docker leaves to its users', async () => {
    // As dockerd sets it up.
    const docker =
      '*filter\n:FORWARD DROP\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\nCOMMIT\n'
    await h1.exec(['iptables-nft-restore', '--noflush'], { input: docker })
    await until(1_000, 'opened', async () => {
      const lines = await iptablesRules(h1)
      assert(
        lines.some((line) => line.startsWith('-A DOCKER-USER') && line.endsWith('-j FLANNEL-FWD')),
        lines.join('\n'),
      )
    })
    await reaches(true)
    await healedAfter(h1, 'iptables-nft -F DOCKER-USER', async () => await iptablesRules(h1))
  })

  it('name what iptables-legacy drops, although ours are elsewhere, and that both hold rules', async () => {
    await h1.daemon?.stop()
    await startDaemon(h1, { args: ['--ip-masq', '--iptables-resync=1'] })
    await ready(h1)
    await h1.exec(['sh', '-c', 'for n in 1 2; do iptables-nft -A INPUT -p tcp --dport 1$n -j ACCEPT; done'])
    await h1.exec(['iptables-legacy', '-A', 'FORWARD', '-j', 'DROP'])
    await reaches(false)
    await until(3_000, 'named', async () => {
      assert.match((await named()).join('\n'), /rule 1 of iptables-legacy FORWARD drops/)
      const codes = (await status(h1)).conditions.map(({ code }: { code: string }) => code)
      assert(codes.includes('iptables-two-worlds'), codes.join(' '))
    })
    await h1.exec(['iptables-legacy', '-F', 'FORWARD'])
    await until(3_000, 'no longer named', async () => {
      assert.deepEqual(await named(), [])
      const codes = (await status(h1)).conditions.map(({ code }: { code: string }) => code)
      assert(!codes.includes('iptables-two-worlds'), codes.join(' '))
    })
    await reaches(true)
  })

  for (const [what, close, text] of [
    ['a policy in iptables', 'iptables-nft -P FORWARD DROP', /the policy of iptables-nft FORWARD drops/],
    [
      'a rule in iptables',
      'iptables-nft -P FORWARD ACCEPT; iptables-nft -A FORWARD -j REJECT',
      /rule \d+ of iptables-nft FORWARD drops/,
    ],
    [
      'a policy in nftables',
      "nft add table inet fw; nft add chain inet fw through '{ type filter hook forward priority 10; policy drop; }'",
      /the policy of chain inet fw through drops/,
    ],
  ] as const) {
    it(`name ${what} that drops overlay traffic, and the command that opens it works`, async () => {
      await h1.exec(['sh', '-c', close])
      await reaches(false)
      let condition = ''
      await until(2_000, 'named', async () => {
        condition = (await named()).join('\n')
        assert.match(condition, text)
      })
      await h1.exec(['sh', '-ec', remedyIn(condition)])
      await reaches(true)
      await until(2_000, 'no longer named', async () => assert.deepEqual(await named(), []))
    })
  }

  it('name what a flannel of before 0.20 left, which hides all containers from each other, and the command that removes it (flannel#1337)', async () => {
    // In their order they are harmless; after an upgrade some stood twice, the first of them before the one that spares containers.
    await h1.exec(['sh', '-c', 'iptables-nft -t nat -A POSTROUTING -s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE'])
    const [own, other] = [h1.container('c1'), h2.container('c1').address]
    assert.notEqual(await seenAs(own, other), own.address)
    let condition = ''
    await until(2_000, 'named', async () => {
      condition = (await named('postrouting')).join('\n')
      assert.match(condition, /rule 1 of iptables-nft -t nat POSTROUTING decides about overlay traffic/)
    })
    await h1.exec(['sh', '-ec', remedyIn(condition)])
    await until(2_000, 'no longer named', async () => assert.deepEqual(await named('postrouting'), []))
    await reaches(true)
  })
})
