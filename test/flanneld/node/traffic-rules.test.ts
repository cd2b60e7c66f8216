import assert from 'node:assert/strict'
import type { OwnPackets } from '../../../flanneld/node/own-packets.ts'
import { type TrafficOptions, trafficObjects } from '../../../flanneld/node/traffic-rules.ts'
import { commandsFor } from '../../../kernel/kinds/words.ts'
import type { DesiredObject, ObjectKind } from '../../../kernel/objects.ts'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'
import { lease, network, vxlanPath } from '../../backends/world.ts'

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

function objects(change: Partial<TrafficOptions> = {}, families: readonly Family[] = [4]): readonly DesiredObject[] {
  return trafficObjects(network(...families), own, { ...options, ...change })
}

function text(kind: ObjectKind, change: Partial<TrafficOptions> = {}, families: readonly Family[] = [4]): string {
  return objects(change, families)
    .filter((object) => object.kind === kind)
    .flatMap((object) => commandsFor({ verb: 'create', object }))
    .join('\n')
}

/** Compatibility contract §7, word for word. */
const contract = (n: string, s: string, multicast: string, random = ' --random-fully') => `
*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s ${s} -d ${n} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s ${n} -d ${s} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s ${n} -d ${s} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s ${n} ! -d ${multicast} -m comment --comment "flanneld masq" -j MASQUERADE${random}
-A FLANNEL-POSTRTG ! -s ${n} -d ${n} -m comment --comment "flanneld masq" -j MASQUERADE${random}
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
`
const forwarding = (n: string) => `
*filter
:FLANNEL-FWD - [0:0]
-A FLANNEL-FWD -s ${n} -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d ${n} -m comment --comment "flanneld forward" -j ACCEPT
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
`
const restore = (program: string, input: string) => `${program}-restore --noflush -w <<'END'${input}END`
/** Only where Docker is. */
const docker = (program: string) =>
  `${program} -t filter -n -L DOCKER-USER >/dev/null 2>&1 && ${program} -t filter -I DOCKER-USER -m comment --comment "flanneld forward" -j FLANNEL-FWD`
const V4 = ['10.5.0.0/16', '10.5.72.0/24', '224.0.0.0/4'] as const
const V6 = ['fc00::/48', 'fc00:0:0:1::/64', 'ff00::/8'] as const

describe('traffic rules with iptables', () => {
  it('are those of the contract', () => {
    const program = 'iptables-nft'
    const expected = [restore(program, contract(...V4)), restore(program, forwarding(V4[0])), docker(program)]
    assert.equal(text('iptables-chain'), expected.join('\n'))
  })

  it('are the same for IPv6', () => {
    const program = 'ip6tables-legacy'
    const expected = [restore(program, contract(...V6)), restore(program, forwarding(V6[0])), docker(program)]
    assert.equal(text('iptables-chain', { world: 'legacy' }, [6]), expected.join('\n'))
  })

  it('stand side by side for both families', () => {
    assert.deepEqual(
      objects({}, [4, 6]).flatMap((object) =>
        object.kind === 'iptables-chain' ? [`${object.family} ${object.name}`] : [],
      ),
      ['4 FLANNEL-POSTRTG', '4 FLANNEL-FWD', '6 FLANNEL-POSTRTG', '6 FLANNEL-FWD'],
    )
  })

  it('leave ports to the kernel where fully random ones are not wanted', () => {
    assert.equal(
      text('iptables-chain', { randomFully: false, forward: false }),
      restore('iptables-nft', contract(...V4, '')),
    )
  })

  it('spare exempt destinations of their family, before anything is masqueraded', () => {
    const exempt = ['10.0.0.0/8' as Cidr, 'fd00::/8' as Cidr]
    const lines = text('iptables-chain', { exempt, forward: false }, [4, 6]).split('\n')
    const spared = lines.filter((line) => /-d (10\.0\.0\.0|fd00::)\/8/.test(line))
    assert.deepEqual(spared, [
      '-A FLANNEL-POSTRTG -d 10.0.0.0/8 -m comment --comment "flanneld masq" -j RETURN',
      '-A FLANNEL-POSTRTG -d fd00::/8 -m comment --comment "flanneld masq" -j RETURN',
    ])
    const at = (part: string) => lines.findIndex((line) => line.includes(part))
    assert(at('-d 10.0.0.0/8') < at('MASQUERADE'))
  })

  it('spare this host’s own packets first, where it lives inside the network, but not those into its tunnel', () => {
    const host = { sources: ['10.5.200.11', '10.5.200.12'] as IpAddr[], tunnels: ['flannel.1'] }
    const rules = (hosts: ReadonlyMap<Family, OwnPackets>, tool: TrafficOptions['tool'] = 'iptables') =>
      trafficObjects(network(4, 6), own, { ...options, tool, forward: false }, hosts).flatMap((object) => {
        if (object.kind === 'iptables-chain') return object.rules
        return object.kind === 'nft-table'
          ? object.chains.flatMap((chain) => chain.rules.map(({ text: rule }) => rule))
          : []
      })
    const added = (tool: TrafficOptions['tool'], hosts: ReadonlyMap<Family, OwnPackets>) => {
      const [with_, without] = [rules(hosts, tool), rules(new Map(), tool)]
      assert.deepEqual(with_.slice(-without.length), without)
      return with_.slice(0, with_.length - without.length)
    }
    assert.deepEqual(added('iptables', new Map([[4, host]])), [
      '-s 10.5.200.11/32 ! -o flannel.1 -m comment --comment "flanneld masq" -j RETURN',
      '-s 10.5.200.12/32 ! -o flannel.1 -m comment --comment "flanneld masq" -j RETURN',
    ])
    assert.deepEqual(added('nftables', new Map([[4, { sources: host.sources.slice(0, 1), tunnels: [] }]])), [
      'ip saddr 10.5.200.11/32 return',
    ])
    assert.deepEqual(added('nftables', new Map([[4, { ...host, sources: host.sources.slice(0, 1) }]])), [
      'ip saddr 10.5.200.11/32 oifname != "flannel.1" return',
    ])
  })

  it('carry the name of another instance', () => {
    const names = objects({ instance: 'a1b2c3d4' }).flatMap((object) =>
      object.kind === 'iptables-chain' ? [object.name, ...object.jumps.map(({ rule }) => rule.split(' ').at(-1))] : [],
    )
    const forward = 'FLANNEL-FWD-a1b2c3d4'
    assert.deepEqual(names, ['FLANNEL-POSTRTG-a1b2c3d4', 'FLANNEL-POSTRTG-a1b2c3d4', forward, forward, forward])
    // The kernel takes 28 characters.
    assert(names.every((name) => (name?.length ?? 0) <= 28))
  })
})

describe('traffic rules with nftables', () => {
  const table = (family: string, name: string, body: string) =>
    `nft -f - <<'END'\nadd table ${family} ${name}\ndelete table ${family} ${name}\ntable ${family} ${name} {\n\tcomment "rules for ${name}"\n${body}}\nEND`
  const chains = (ip: string, n: string, s: string, multicast: string, masq: string, forward: string) =>
    [
      '\tchain postrtg {',
      '\t\ttype nat hook postrouting priority 100; policy accept;',
      `\t\tmeta mark & 0x4000 == 0x4000 return comment "flanneld masq 1/6 ${masq}"`,
      `\t\t${ip} saddr ${s} ${ip} daddr ${n} return comment "flanneld masq 2/6 ${masq}"`,
      `\t\t${ip} saddr ${n} ${ip} daddr ${s} return comment "flanneld masq 3/6 ${masq}"`,
      `\t\t${ip} saddr != ${n} ${ip} daddr ${s} return comment "flanneld masq 4/6 ${masq}"`,
      `\t\t${ip} saddr ${n} ${ip} daddr != ${multicast} masquerade fully-random comment "flanneld masq 5/6 ${masq}"`,
      `\t\t${ip} saddr != ${n} ${ip} daddr ${n} masquerade fully-random comment "flanneld masq 6/6 ${masq}"`,
      '\t}',
      '\tchain forward {',
      '\t\ttype filter hook forward priority 0; policy accept;',
      `\t\t${ip} saddr ${n} accept comment "flanneld forward 1/2 ${forward}"`,
      `\t\t${ip} daddr ${n} accept comment "flanneld forward 2/2 ${forward}"`,
      '\t}\n',
    ].join('\n')
  const fingerprints = (of: string) => [...new Set(of.match(/[0-9a-f]{8}(?="$)/gm))] as [string, string]

  it('are those of the contract, and both families have their table', () => {
    const actual = text('nft-table', { tool: 'nftables' })
    const expected = [
      table('ip', 'flannel-ipv4', chains('ip', ...V4, ...fingerprints(actual))),
      table('ip6', 'flannel-ipv6', ''),
    ]
    assert.equal(actual, expected.join('\n'))
  })

  it('are the same for IPv6', () => {
    const actual = text('nft-table', { tool: 'nftables' }, [6])
    const expected = [
      table('ip', 'flannel-ipv4', ''),
      table('ip6', 'flannel-ipv6', chains('ip6', ...V6, ...fingerprints(actual))),
    ]
    assert.equal(actual, expected.join('\n'))
  })

  it('masquerade without fully random ports if told', () => {
    const actual = text('nft-table', { tool: 'nftables', randomFully: false })
    assert.match(actual, /daddr != 224\.0\.0\.0\/4 masquerade comment/)
    assert.doesNotMatch(actual, /fully-random/)
  })

  it('have another fingerprint for any other content', () => {
    const marks = (change: Partial<TrafficOptions>) =>
      fingerprints(text('nft-table', { tool: 'nftables', ...change }))[0]
    assert.notEqual(marks({}), marks({ exempt: ['10.0.0.0/8' as Cidr] }))
    assert.notEqual(marks({}), marks({ randomFully: false }))
    assert.equal(marks({}), marks({ forward: false }))
  })

  it('open the chain of Docker with iptables, where it is', () => {
    const [chain, ...others] = objects({ tool: 'nftables' }).filter(({ kind }) => kind === 'iptables-chain')
    assert(chain?.kind === 'iptables-chain' && others.length === 0)
    assert.equal(chain.onlyBeside, 'DOCKER-USER')
    assert.deepEqual(
      chain.jumps.map(({ from, place }) => `${from} ${place}`),
      ['DOCKER-USER first'],
    )
  })
})

describe('traffic rules', () => {
  const kinds = (change: Partial<TrafficOptions>) =>
    objects(change).map((object) =>
      object.kind === 'iptables-chain' ? object.name : object.kind === 'sysctl' ? object.path : object.kind,
    )

  it('that nobody asked for are none', () => {
    for (const tool of ['iptables', 'nftables'] as const) {
      assert.deepEqual(objects({ tool, masquerade: false, forward: false }), [])
    }
  })

  it('for forwarding alone, for masquerade alone', () => {
    const bridge = 'net/bridge/bridge-nf-call-iptables'
    assert.deepEqual(kinds({ masquerade: false }), ['FLANNEL-FWD', 'net/ipv4/ip_forward', bridge])
    assert.deepEqual(kinds({ forward: false }), ['FLANNEL-POSTRTG', bridge])
    assert.deepEqual(kinds({ forward: false, tool: 'nftables' }), ['nft-table', 'nft-table'])
  })

  it('only advise on what is not flannel’s own', () => {
    for (const { kind, role } of objects({}, [4, 6])) {
      assert.equal(role.class, kind === 'iptables-chain' ? 'required' : 'advisory', kind)
    }
  })
})
