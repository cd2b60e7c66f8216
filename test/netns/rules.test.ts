import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { type TrafficOptions, trafficObjects } from '../../flanneld/node/traffic-rules.ts'
import type { DesiredState } from '../../kernel/desired.ts'
import type { IptablesChain } from '../../kernel/kinds/iptables-chain/kind.ts'
import { type DesiredObject, keyOf } from '../../kernel/objects.ts'
import { MemoryJournal } from '../../kernel/reconciler/journal.ts'
import { preview } from '../../kernel/reconciler/preview.ts'
import { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import { watchTables } from '../../kernel/reconciler/watch-tables.ts'
import type { Cidr } from '../../lib/address.ts'
import { systemClock } from '../../lib/clock.ts'
import { Lifecycle } from '../../lib/lifecycle.ts'
import { silentLogger } from '../../lib/log.ts'
import { lease, network, vxlanPath } from '../backends/world.ts'
import { rulesConformance } from '../conformance/rules.ts'
import { until } from '../until.ts'
import { ownNamespace, tableOf } from './own-namespace.ts'

const own = lease('10.5.72.0/24 192.168.64.11 fc00:0:0:1::/64 2001:db8::11', vxlanPath('02:00:00:00:00:01'))
const options: TrafficOptions = {
  masquerade: true,
  randomFully: true,
  exempt: [],
  forward: true,
  tool: 'iptables',
  world: 'nft',
  instance: '',
}
const networks = [{ network: '10.5.0.0/16' as Cidr, subnetLen: 24 }]

/** What flannel 0.28.9 writes for this host, as `iptables-save` shows it. */
const FLANNEL = `*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.72.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.72.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.72.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
`

describe('traffic rules in the real kernel', function () {
  this.timeout(120_000)
  const namespace = ownNamespace(this)
  const run = (line: string) => namespace.run(line)
  const restore = (program: string, input: string) =>
    void execFileSync(`${program}-restore`, ['--noflush'], { input, stdio: ['pipe', 'pipe', 'pipe'] })
  const flannelLines = (program: string) =>
    run(`${program}-save`)
      .split('\n')
      .filter((line) => /flannel/i.test(line) && !line.startsWith('#'))
      .map((line) => line.replace(/ \[\d+:\d+\]$/, ''))
  const expected = FLANNEL.split('\n')
    .filter((line) => /flannel/i.test(line))
    .map((line) => line.replace(/ \[0:0\]$/, ''))
  const sorted = (lines: readonly string[]) => [...lines].sort()

  function wanted(change: Partial<TrafficOptions> = {}, fields: Partial<DesiredState> = {}): DesiredState {
    const traffic = { ...options, ...change }
    const objects = [
      ...trafficObjects(network(4), own, traffic),
      ...(traffic.tool === 'nftables' ? [] : trafficObjects(network(6), own, traffic)),
    ].filter((object: DesiredObject) => object.kind !== 'sysctl')
    return {
      objects: new Map(objects.map((object) => [keyOf(object), object])),
      complete: true,
      scope: { devices: new Set(), networks, instance: traffic.instance },
      ...fields,
    }
  }

  async function apply(desired: DesiredState): Promise<Reconciler> {
    const tables = namespace.kernel.tables
    const reconciler = new Reconciler({ tables, clock: systemClock, log: silentLogger, journal: new MemoryJournal() })
    const { failures } = await reconciler.settled(reconciler.setDesired(desired), AbortSignal.timeout(60_000))
    assert.deepEqual(
      [...failures.values()].map(({ text }) => text),
      [],
    )
    return reconciler
  }

  async function applyOnce(desired: DesiredState): Promise<void> {
    await (await apply(desired)).stop()
    assert.deepEqual((await preview(namespace.kernel.tables, desired)).ops, [])
  }

  afterEach(() => {
    run('nft flush ruleset')
    for (const program of ['iptables-legacy', 'ip6tables-legacy']) {
      for (const table of ['nat', 'filter']) {
        for (const what of ['-F', '-X']) run(`${program} -t ${table} ${what}`)
        run(`${program} -t ${table} -P ${table === 'nat' ? 'POSTROUTING' : 'FORWARD'} ACCEPT`)
      }
    }
    for (const world of ['nft', 'legacy'] as const) {
      for (const family of [4, 6] as const) namespace.kernel.rules.sets.iptables(world, family).forget()
    }
  })

  describe('in tables that iptables cannot show', () => {
    const NATIVE = 'ct state established,related accept'
    const INCOMPATIBLE: readonly (readonly [string, string, string])[] = [
      ['filter INPUT', '{ type filter hook input priority 0 ; }', NATIVE],
      ['filter FORWARD', '{ type filter hook forward priority 0 ; }', NATIVE],
      // Here iptables cannot even take a rule of its own away.
      ['filter FORWARD', '{ type filter hook forward priority 0 ; }', 'ip saddr . ip daddr { 1.2.3.4 . 5.6.7.8 } drop'],
      ['nat POSTROUTING', '{ type nat hook postrouting priority 100 ; }', 'ct mark 7 accept'],
      // Shown, but not all of it: a chain with another priority is left out.
      ['filter extra', '{ type filter hook forward priority 7 ; }', 'accept'],
    ]
    const places = (family: 'ip' | 'ip6') =>
      ['filter', 'nat']
        .map((table) => run(`nft list table ${family} ${table}`))
        .join('')
        .split('\n')
        .filter((line) => /FLANNEL-|chain DOCKER-USER/.test(line))
        .map((line) => line.replace(/counter.*(?=jump)/, '').trim())
        .filter((line) => !line.startsWith('chain FLANNEL'))
    const jumps = [' jump FLANNEL-FWD', ' jump FLANNEL-POSTRTG'].map((line) => line.trim())
    const spoil = (family: string, [chain, base, rule]: (typeof INCOMPATIBLE)[number]) => {
      const [table] = chain.split(' ')
      for (const line of [
        `add table ${family} ${table}`,
        `add chain ${family} ${chain} ${base}`,
        `add rule ${family} ${chain} ${family === 'ip6' ? rule.replace(/ip saddr.*(?=drop)/, 'ip6 saddr . ip6 daddr { ::1 . ::2 } ') : rule}`,
      ])
        run(`nft ${line}`)
    }

    for (const bad of INCOMPATIBLE) {
      it(`are found, written once, healed and removed whole: ${bad[2]} in ${bad[0]}`, async () => {
        for (const family of ['ip', 'ip6']) spoil(family, bad)
        await applyOnce(wanted())
        for (const family of ['ip', 'ip6'] as const) assert.deepEqual(places(family), jumps)
        const before = run('nft list ruleset')
        await applyOnce(wanted())
        assert.equal(run('nft list ruleset'), before)
        // Laid twice, as by a daemon that could not see the first one.
        restore('iptables-nft', '*filter\n-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD\nCOMMIT\n')
        run('iptables-nft -F FLANNEL-FWD')
        namespace.kernel.rules.sets.iptables('nft', 4).forget()
        await applyOnce(wanted())
        assert.match(run('iptables-nft -S FLANNEL-FWD'), /-s 10\.5\.0\.0\/16 .*-j ACCEPT/)
        await applyOnce(wanted({ masquerade: false, forward: false }))
        for (const family of ['ip', 'ip6'] as const) assert.deepEqual(places(family), [])
        assert.match(run('nft list ruleset'), new RegExp(bad[2].split(' ')[0] ?? ''))
      })
    }

    it('are left as they are when such a rule comes and goes', async () => {
      await applyOnce(wanted())
      const text = run('nft list ruleset')
      run('nft insert rule ip filter FORWARD ct state established accept')
      assert.deepEqual((await preview(namespace.kernel.tables, wanted())).ops, [])
      const handle = /ct state established.*handle (\d+)/.exec(run('nft -a list chain ip filter FORWARD'))?.[1]
      run(`nft delete rule ip filter FORWARD handle ${handle}`)
      assert.deepEqual((await preview(namespace.kernel.tables, wanted())).ops, [])
      assert.equal(run('nft list ruleset'), text)
    })
  })

  for (const world of ['nft', 'legacy'] as const) {
    const program = `iptables-${world}`

    describe(`with ${program}`, () => {
      it('are written as the contract says, and removed whole', async () => {
        await applyOnce(wanted({ world }))
        assert.deepEqual(sorted(flannelLines(program)), sorted(expected))
        assert.equal(flannelLines(`ip6tables-${world}`).length, expected.length)
        await applyOnce(wanted({ world, masquerade: false, forward: false }))
        assert.deepEqual(flannelLines(program), [])
        assert.deepEqual(flannelLines(`ip6tables-${world}`), [])
      })

      it('take over what flannel wrote without a change', async () => {
        restore(program, FLANNEL)
        const before = run(`${program}-save -c`)
        const { ops } = await preview(namespace.kernel.tables, wanted({ world }))
        assert.deepEqual(ops.map(({ object }) => keyOf(object)).sort(), [
          `iptables-chain ip6tables-${world} filter FLANNEL-FWD`,
          `iptables-chain ip6tables-${world} nat FLANNEL-POSTRTG`,
        ])
        assert.equal(run(`${program}-save -c`).replace(/^#.*\n/gm, ''), before.replace(/^#.*\n/gm, ''))
      })

      it('are put right whatever was done to them, and nothing is doubled', async () => {
        const jump = ['-m', 'comment', '--comment', 'flanneld masq', '-j', 'FLANNEL-POSTRTG']
        await applyOnce(wanted({ world }))
        for (const args of [
          ['-t', 'nat', '-F', 'FLANNEL-POSTRTG'],
          ['-t', 'nat', '-F', 'POSTROUTING'],
          ['-F', 'FORWARD'],
          ['-t', 'nat', '-D', 'FLANNEL-POSTRTG', '3'],
          ['-t', 'nat', '-I', 'FLANNEL-POSTRTG', '-j', 'ACCEPT'],
          ['-t', 'nat', '-R', 'FLANNEL-POSTRTG', '3', '-s', '10.9.0.0/16', '-j', 'RETURN'],
          ['-t', 'nat', '-A', 'POSTROUTING', ...jump],
        ]) {
          execFileSync(program, args, { stdio: 'pipe' })
          namespace.kernel.rules.sets.iptables(world, 4).forget()
          await applyOnce(wanted({ world }))
          assert.deepEqual(sorted(flannelLines(program)), sorted(expected), args.join(' '))
        }
      })

      it('leave everybody else’s rules where they are', async () => {
        const foreign = `*nat
:KUBE-POSTROUTING - [0:0]
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
COMMIT
*filter
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -i docker0 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
`
        restore(program, foreign)
        await applyOnce(wanted({ world }))
        const saved = run(`${program}-save`).split('\n')
        const at = (part: string) => saved.findIndex((line) => line.includes(part))
        assert(at('-j KUBE-POSTROUTING') < at('POSTROUTING -m comment --comment "flanneld masq"'))
        assert(
          at('-A DOCKER-USER -m comment --comment "flanneld forward" -j FLANNEL-FWD') < at('-A DOCKER-USER -j RETURN'),
        )
        await applyOnce(wanted({ world, masquerade: false, forward: false }))
        const lines = run(`${program}-save`)
          .split('\n')
          .filter((line) => line.startsWith('-A'))
        assert.deepEqual(sorted(lines), sorted(foreign.split('\n').filter((line) => line.startsWith('-A'))))
      })

      it('of flannel make way for another instance’s', async () => {
        restore(program, FLANNEL)
        restore(
          program,
          FLANNEL.replaceAll('FLANNEL-POSTRTG', 'FLANNEL-POSTRTG-00000000').replaceAll(
            'FLANNEL-FWD',
            'FLANNEL-FWD-00000000',
          ),
        )
        await applyOnce(wanted({ world, instance: 'a1b2c3d4' }))
        const names = new Set(flannelLines(program).flatMap((line) => /^:(\S+)/.exec(line)?.[1] ?? []))
        assert.deepEqual(sorted([...names]), [
          'FLANNEL-FWD-00000000',
          'FLANNEL-FWD-a1b2c3d4',
          'FLANNEL-POSTRTG-00000000',
          'FLANNEL-POSTRTG-a1b2c3d4',
        ])
      })
    })
  }

  describe('conform', () => rulesConformance(() => namespace.kernel.tables))

  describe('with nft', () => {
    const tables = () =>
      run('nft list tables')
        .trim()
        .split('\n')
        .filter((line) => line.includes('flannel'))
    const list = () => run('nft list table ip flannel-ipv4')

    it('are written as the contract says, and removed whole', async () => {
      await applyOnce(wanted({ tool: 'nftables' }))
      assert.deepEqual(tables(), ['table ip flannel-ipv4', 'table ip6 flannel-ipv6'])
      assert.match(list(), /comment "rules for flannel-ipv4"/)
      assert.match(list(), /ip saddr 10\.5\.0\.0\/16 ip daddr != 224\.0\.0\.0\/4 masquerade fully-random/)
      assert.match(list(), /type nat hook postrouting priority srcnat; policy accept;/)
      await applyOnce(wanted({ tool: 'nftables', masquerade: false, forward: false }))
      assert.deepEqual(tables(), [])
    })

    it('replace flannel’s', async () => {
      execFileSync('nft', ['-f', '-'], {
        input: `table ip flannel-ipv4 { chain postrtg { type nat hook postrouting priority srcnat; ip saddr != 10.5.72.0/24 ip daddr 10.5.0.0/16 return; }; chain forward { type filter hook forward priority filter; ip saddr 10.5.0.0/16 accept; }; }`,
      })
      await applyOnce(wanted({ tool: 'nftables' }))
      assert.doesNotMatch(list(), /saddr != 10\.5\.72/)
      assert.equal(list().match(/flanneld masq/g)?.length, 6)
    })

    it('are put right whatever was done to them', async () => {
      await applyOnce(wanted({ tool: 'nftables' }))
      const good = list()
      for (const line of [
        'nft flush chain ip flannel-ipv4 postrtg',
        'nft flush ruleset',
        'nft delete table ip flannel-ipv4',
        'nft delete chain ip flannel-ipv4 forward',
        'nft insert rule ip flannel-ipv4 postrtg accept',
        'nft add chain ip flannel-ipv4 forward { policy drop; }',
      ]) {
        execFileSync(
          'sh',
          [
            '-c',
            line.includes('delete chain')
              ? `nft flush chain ip flannel-ipv4 forward && ${line}`
              : line.replace(/(\{.*\})/, "'$1'"),
          ],
          { stdio: 'pipe' },
        )
        assert.notEqual((await preview(namespace.kernel.tables, wanted({ tool: 'nftables' }))).ops.length, 0, line)
        await applyOnce(wanted({ tool: 'nftables' }))
        assert.equal(list(), good, line)
      }
    })

    it('do not touch a table of our name that is somebody else’s', async () => {
      run('nft add table ip flannel-ipv4')
      run('nft add set ip flannel-ipv4 mine { type ipv4_addr; }')
      const { ops, failures } = await preview(namespace.kernel.tables, wanted({ tool: 'nftables' }))
      assert.deepEqual(
        ops.map(({ object }) => keyOf(object)),
        ['nft-table ip6 flannel-ipv6'],
      )
      const failure = failures.get('nft-table ip flannel-ipv4')
      assert.equal(failure?.cause, 'foreign')
      assert.match(failure?.text ?? '', /remove it with 'nft delete table ip flannel-ipv4'/)
    })

    it('come and go as the mode is switched', async () => {
      await applyOnce(wanted({ world: 'legacy' }))
      await applyOnce(wanted({ world: 'nft' }))
      assert.deepEqual(flannelLines('iptables-legacy'), [])
      await applyOnce(wanted({ tool: 'nftables' }))
      assert.deepEqual(flannelLines('iptables-nft'), [])
      assert.deepEqual(flannelLines('ip6tables-nft'), [])
      await applyOnce(wanted({ world: 'nft' }))
      assert.deepEqual(tables(), [])
      assert.deepEqual(sorted(flannelLines('iptables-nft')), sorted(expected))
    })
  })

  it('what is made once more stands once: it may not have been readable when it was looked for', async () => {
    const chains = tableOf<IptablesChain>(namespace.kernel, 'iptables-chain')
    const objects = trafficObjects(network(4), own, options).filter((object) => object.kind === 'iptables-chain')
    try {
      for (const _ of [1, 2]) {
        const results = await chains.apply(objects.map((object) => ({ verb: 'create', object })))
        assert.ok(results.every(({ ok }) => ok))
      }
      const jumps = run('iptables-nft-save')
        .split('\n')
        .filter((line) => /^-A (FORWARD|POSTROUTING) /.test(line))
      assert.equal(jumps.length, objects.length)
    } finally {
      await chains.apply((await chains.dump(objects)).map((object) => ({ verb: 'remove', object })))
    }
  })

  it('start no program while nothing changes', async () => {
    for (const change of [{ world: 'nft' }, { tool: 'nftables' }, { world: 'legacy' }] as const) {
      const desired = wanted(change)
      await applyOnce(desired)
      const { PATH } = process.env
      process.env['PATH'] = '/nonexistent'
      try {
        assert.deepEqual((await preview(namespace.kernel.tables, desired)).ops, [])
      } finally {
        process.env['PATH'] = PATH
      }
    }
  })

  it('are healed within a second of a change', async () => {
    for (const [change, line] of [
      [{ world: 'nft' }, 'nft flush ruleset'],
      [{ world: 'nft' }, 'iptables-nft -t nat -F'],
      [{ tool: 'nftables' }, 'nft flush ruleset'],
    ] as const) {
      const reconciler = await apply(wanted(change))
      const lifecycle = new Lifecycle({ clock: systemClock, onFault: () => 'ended' })
      watchTables({ lifecycle, reconciler }, namespace.kernel.tables)
      try {
        await delay(700)
        run(line)
        await until(1_000, `healed after ${line}`, async () => {
          assert.deepEqual((await preview(namespace.kernel.tables, wanted(change))).ops, [])
        })
      } finally {
        // One that went on would repair what the next test does.
        await lifecycle.stop()
        await reconciler.stop()
      }
    }
  })
})
