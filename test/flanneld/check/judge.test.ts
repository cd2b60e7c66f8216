import assert from 'node:assert/strict'
import type { Facts, OutlookFacts, PlanFacts, Planned, StoreFacts } from '../../../flanneld/check/facts.ts'
import { gravest, judge } from '../../../flanneld/check/judge.ts'
import type { Failure } from '../../../kernel/desired.ts'
import type { Cidr, IpAddr } from '../../../lib/address.ts'

const NOW = Date.parse('2026-01-15T00:00:00Z')
const day = (text: string) => Date.parse(`${text}T00:00:00Z`)

function store(more: Partial<StoreFacts> = {}): Facts {
  return {
    store: {
      key: '/coreos.com/network/config',
      tls: { certificates: [], now: NOW },
      answer: { config: '{}', writeFault: undefined },
      members: [{ endpoint: '10.0.0.1:2379', version: '3.4.23', aheadMs: 300 }],
      ...more,
    },
  }
}

const good: PlanFacts = {
  mtu: 1450,
  modules: [{ name: 'vxlan', state: 'there' }],
  failures: [],
  obstacles: [],
  ownRules: 'nft',
  ports: [{ port: '8472/udp', holder: undefined }],
  sysctls: [
    { path: 'net/ipv4/ip_forward', value: '0', wanted: '1', writable: true, remedy: 'sysctl -w net.ipv4.ip_forward=1' },
  ],
}

function outlook(plan: Partial<PlanFacts> = {}, more: Partial<Planned> = {}): Facts {
  const planned: OutlookFacts = {
    backend: 'vxlan',
    uplink: { name: 'eth0', mtu: 1500, reason: 'the default route leads over it' },
    warnings: [],
    conditions: [],
    plan: { ...good, ...plan },
    ...more,
  }
  return { outlook: planned }
}

const certificate = (validFrom: string, validTo: string): Facts =>
  store({ tls: { now: NOW, certificates: [{ path: '/etc/x.crt', validFrom: day(validFrom), validTo: day(validTo) }] } })

const variables = (given: readonly string[], name = 'FLANNEL_ETCD_ENDPOINTS'): Facts => ({
  variables: {
    found: [{ where: '/etc/sysconfig/flanneld', name, value: 'http://10.0.0.1:2379' }],
    given: new Set(given),
  },
})

const path = { hook: 'forward', family: 4, network: '10.5.0.0/16' as Cidr } as const
const inward = {
  ...path,
  hook: 'input',
  outer: { protocol: 'udp', port: 8472, device: 'eth0', local: '10.0.0.2' as IpAddr },
} as const

const failure: Failure = {
  key: 'link flannel.1',
  object: {
    kind: 'route',
    dst: '10.5.2.0/24' as Cidr,
    device: 'flannel.1',
    role: { class: 'required' },
  } as Failure['object'],
  cause: 'foreign',
  text: 'a device of this name is there',
}

/** Each check with what is well, what is a warning and what is a failure. */
const cases: readonly (readonly [name: string, facts: Facts, line: RegExp])[] = [
  ['a permission that is there', { permission: { fault: undefined } }, /^ok permission: CAP_NET_ADMIN is there$/],
  [
    'a permission that is missing',
    { permission: { fault: 'CAP_NET_ADMIN is missing' } },
    /^fail permission: CAP_NET_ADMIN is missing -> run it as root/,
  ],
  [
    'an option that is not there yet',
    { unavailable: { fault: '--allow-extension: not available yet' } },
    /^fail options: --allow-extension: not available yet -> /,
  ],
  ['no old variable', { variables: { found: [], given: new Set() } }, /^ok variables: /],
  ['an old variable beside its flag', variables(['etcd-endpoints']), /^ok variables: /],
  [
    'an old variable alone',
    variables(['etcd-prefix']),
    /^warn variables: FLANNEL_ETCD_ENDPOINTS in \/etc\/sysconfig\/flanneld .* -> write FLANNELD_ETCD_ENDPOINTS="http:\/\/10\.0\.0\.1:2379"/,
  ],
  ['a variable that means nothing', variables([], 'FLANNEL_ETCD_TYPO'), /^ok variables: /],
  ['no TLS files', store(), /^ok tls-files: none/],
  [
    'a TLS file that is missing',
    store({ tls: { fault: 'no such file', certificates: [], now: NOW } }),
    /^fail tls-files: no such file -> name files/,
  ],
  ['a certificate', certificate('2026-01-01', '2026-12-31'), /^ok tls-files: can be used/],
  [
    'a certificate that expires soon',
    certificate('2025-01-01', '2026-01-20'),
    /^warn tls-files: .*x\.crt expires on 2026-01-20 -> put a new/,
  ],
  [
    'a certificate that has expired',
    certificate('2025-01-01', '2026-01-14'),
    /^fail tls-files: .*has expired on 2026-01-14/,
  ],
  [
    'a certificate of tomorrow',
    certificate('2026-01-16', '2027-01-01'),
    /^fail tls-files: .*not valid before 2026-01-16 -> set the clock/,
  ],
  [
    'a key for everybody',
    store({ tls: { certificates: [], now: NOW, openKey: '/etc/x.key' } }),
    /^warn tls-files: .*\/etc\/x\.key -> chmod 600 \/etc\/x\.key$/,
  ],
  ['an etcd that answers', store(), /^ok etcd: answers: 10\.0\.0\.1:2379 \(3\.4\.23\)$/],
  [
    'an etcd that is away',
    store({ answer: { fault: 'connect ECONNREFUSED' } }),
    /^fail etcd: .*ECONNREFUSED -> start etcd/,
  ],
  [
    'a wrong password',
    store({ answer: { fault: 'authentication failed, invalid user ID or password' } }),
    /^fail etcd: .* -> give --etcd-username/,
  ],
  [
    'a user who may not read',
    store({ answer: { fault: 'etcdserver: permission denied' } }),
    /^fail etcd: .* -> let the role .* read/,
  ],
  [
    'a certificate of etcd that is not believed',
    store({ answer: { fault: "etcd's certificate is not accepted" } }),
    /^fail etcd: .* -> the text says which file/,
  ],
  [
    'an etcd of version 2',
    store({ answer: { fault: 'x' }, members: [{ endpoint: 'a:4001', version: '2.3.8', aheadMs: 0 }] }),
    /^fail etcd: etcd at a:4001 has version 2\.3\.8/,
  ],
  ['leases that may be written', store(), /^ok etcd-permission: /],
  [
    'leases that may not be written',
    store({ answer: { config: '{}', writeFault: 'etcdserver: permission denied' } }),
    /^fail etcd-permission: .* -> etcdctl role grant-permission ROLE readwrite \/coreos\.com\/network --prefix=true/,
  ],
  ['a clock that agrees', store(), /^ok clock: /],
  [
    'a clock that is behind',
    store({ members: [{ endpoint: 'a:1', version: '3.4.23', aheadMs: 90_000 }] }),
    /^warn clock: this host's clock is 90 s behind/,
  ],
  [
    'a clock that is ahead',
    store({ members: [{ endpoint: 'a:1', version: '3.4.23', aheadMs: -90_000 }] }),
    /^warn clock: this host's clock is 90 s ahead of/,
  ],
  ['a configuration', store(), /^ok configuration: is at \/coreos\.com\/network\/config$/],
  [
    'no configuration',
    store({ answer: { config: undefined, writeFault: undefined } }),
    /^fail configuration: there is none .* -> ETCDCTL_API=3 etcdctl put/,
  ],
  [
    'a configuration of version 2',
    store({ answer: { config: undefined, writeFault: undefined }, v2Config: '{"Network":"10.9.0.0/16"}' }),
    /^fail configuration: .*version 2 .* -> ETCDCTL_API=3 etcdctl put \/coreos\.com\/network\/config '\{"Network":"10\.9\.0\.0\/16"\}'$/,
  ],
  ['a host that fits', outlook(), /^ok interface: eth0, MTU 1500 \(the default route/],
  [
    'a host that fits none',
    { outlook: { fault: 'no interface fits', remedy: 'name it' } },
    /^fail plan: no interface fits -> name it$/,
  ],
  ['an unknown key', outlook({}, { warnings: ['Netwrk: unknown key'] }), /^warn configuration: Netwrk: unknown key/],
  [
    'no free subnet',
    outlook({}, { leaseConflict: 'no free subnet is left' }),
    /^fail lease: no free subnet is left -> make the network larger/,
  ],
  [
    'an address that another node has',
    outlook({}, { askedFirst: { id: '10.5.2.0-24', node: 'ab' } }),
    /^warn lease: lease 10\.5\.2\.0-24 of node ab has this host's public address/,
  ],
  [
    'a condition',
    outlook({}, { conditions: [{ code: 'iptables-two-worlds', severity: 'warning', text: 'both', remedy: 'one' }] }),
    /^warn iptables-two-worlds: both -> one$/,
  ],
  [
    'a condition to know of',
    outlook({}, { conditions: [{ code: 'overlap', severity: 'info', text: 'both', remedy: 'one' }] }),
    /^ok mtu: vxlan leaves containers 1450 of 1500 bytes$/,
  ],
  ['a module that is there', outlook(), /^ok modules: vxlan is there$/],
  [
    'a module that can be loaded',
    outlook({ modules: [{ name: 'ipip', state: 'loadable' }] }),
    /^ok modules: ipip can be loaded$/,
  ],
  [
    'a module of which nothing is known',
    outlook({ modules: [{ name: 'ipip', state: 'unknown' }] }),
    /^warn modules: .*ipip.* -> modprobe ipip$/,
  ],
  [
    'a module that is missing',
    outlook({ modules: [{ name: 'ipip', state: 'missing' }] }),
    /^fail modules: this kernel has no module ipip -> .*modprobe ipip/,
  ],
  ['a port that is free', outlook(), /^ok ports: 8472\/udp/],
  [
    'a port that is taken',
    outlook({ ports: [{ port: '8472/udp', holder: 'dnsmasq (pid 8)' }] }),
    /^fail ports: 8472\/udp is in use by dnsmasq \(pid 8\) -> .*Backend\.Port$/,
  ],
  [
    'a health port that is taken',
    outlook({ ports: [{ port: '8080/tcp', holder: 'x' }] }),
    /^fail ports: .* -> .*--healthz-port$/,
  ],
  ['nothing in the way', outlook(), /^ok objects: /],
  [
    'something in the way of all',
    outlook({ failures: [failure] }),
    /^fail objects: link flannel\.1: a device of this name is there -> remove it/,
  ],
  [
    'something in the way of a peer',
    outlook({ failures: [{ ...failure, object: { ...failure.object, role: { class: 'peer', peer: 'x' } } }] }),
    /^warn objects: /,
  ],
  ['sysctls that can be set', outlook(), /^ok sysctls: /],
  [
    'a sysctl that cannot be set',
    outlook({ sysctls: good.sysctls.map((each) => ({ ...each, writable: false })) }),
    /^warn sysctls: net\/ipv4\/ip_forward is 0, must be 1.* -> on the host: sysctl -w net\.ipv4\.ip_forward=1$/,
  ],
  [
    'a sysctl that is as wanted',
    outlook({ sysctls: good.sysctls.map((each) => ({ ...each, value: '1', writable: false })) }),
    /^ok sysctls: /,
  ],
  [
    'a sysctl that this kernel has not',
    outlook({ sysctls: good.sysctls.map((each) => ({ ...each, value: undefined, writable: false })) }),
    /^ok sysctls: /,
  ],
  [
    'a strict filter',
    outlook({ strictUplink: { sysctl: 'net.ipv4.conf.all.rp_filter', elsewhere: [] } }),
    /^ok sysctls: /,
  ],
  [
    'a strict filter and peers elsewhere',
    outlook({ strictUplink: { sysctl: 'net.ipv4.conf.all.rp_filter', elsewhere: ['a', 'b', 'c', 'd'] } }),
    /^warn rp-filter: .*\(net\.ipv4\.conf\.all\.rp_filter=1\).*a, b, c and 1 more.* -> sysctl -w net\.ipv4\.conf\.all\.rp_filter=2/,
  ],
  ['an open firewall', outlook(), /^ok firewall: /],
  [
    'a closed port',
    outlook({ obstacles: [{ path: inward, found: [{ text: 'rule 1 closes it', command: 'ufw allow 8472/udp' }] }] }),
    /^fail firewall: IPv4 input 8472\/udp: rule 1 closes it -> ufw allow 8472\/udp$/,
  ],
  [
    'a rule that drops',
    outlook({ obstacles: [{ path, found: [{ text: 'rule 1 drops', command: '' }] }] }),
    /^warn firewall: IPv4 forward 10\.5\.0\.0\/16: rule 1 drops -> its owner/,
  ],
  [
    'a policy that rules of ours will open',
    outlook({ obstacles: [{ path, found: [{ text: 'the policy', command: 'x', policyOf: 'nft' }] }] }),
    /^ok firewall: /,
  ],
  [
    'a policy in the other world',
    outlook({ obstacles: [{ path, found: [{ text: 'the policy', command: 'x', policyOf: 'legacy' }] }] }),
    /^warn firewall: /,
  ],
]

describe('judge', () => {
  for (const [name, facts, line] of cases) {
    it(`of ${name} says ${line.source.slice(1, 30)}`, () => {
      const check = /^\^\w+ ([\w-]+)/.exec(line.source)?.[1]
      const lines = judge(facts).filter((each) => each.check === check)
      assert.equal(lines.length, 1)
      const [only] = lines
      const remedy = only?.remedy === undefined ? '' : ` -> ${only.remedy}`
      assert.match(`${only?.level} ${only?.check}: ${only?.text}${remedy}`, line)
      assert.equal(only?.level === 'ok', only?.remedy === undefined)
      // Nothing beside it is wrong.
      assert.equal(gravest(judge(facts)), ['ok', 'warn', 'fail'].indexOf(only?.level ?? ''))
    })
  }

  it('says nothing of what was not read', () => {
    assert.deepEqual(judge({}), [])
    assert.equal(gravest([]), 0)
    const silent = judge(store({ answer: { fault: 'x' } })).map(({ check }) => check)
    assert.deepEqual(silent, ['tls-files', 'etcd', 'clock'])
  })
})
