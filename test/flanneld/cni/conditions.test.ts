import assert from 'node:assert/strict'
import { staleAddresses } from '../../../flanneld/cni/bridge-addresses.ts'
import { type CniJudgement, cniConditions } from '../../../flanneld/cni/conditions.ts'
import type { BridgeFacts, CniFacts, Reservation } from '../../../flanneld/cni/facts.ts'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'

const own = {
  subnets: new Map<Family, Cidr>([
    [4, '10.5.9.0/24' as Cidr],
    [6, 'fc00:0:0:9::/64' as Cidr],
  ]),
  networks: ['10.5.0.0/16', 'fc00::/48'] as Cidr[],
}
const judged: CniJudgement = {
  network: { confFile: '/etc/cni/net.d/10-flannel.conflist', name: 'cbr0' },
  binDir: '/opt/cni/bin',
  pluginsFrom: undefined,
  picksFirst: true,
  own,
  held: new Set(),
}
const nothing: CniFacts = {
  configs: [],
  plugins: new Map(),
  bridge: undefined,
  reservations: [],
  unreadable: [],
}

function bridge(text: string, ports = 0): BridgeFacts {
  const addresses = text.split(' ').map((word) => {
    const [address = '', length = ''] = word.split('/')
    return { address: address as IpAddr, length: Number(length) }
  })
  return { name: 'cni0', addresses, ports }
}

function reservation(address: string, container = 'c', network = 'cbr0'): Reservation {
  return { network, address: address as IpAddr, container }
}

describe('an address of the bridge', () => {
  const cases: readonly [what: string, bridge: BridgeFacts, on: readonly Reservation[], stale: string][] = [
    ['is right where it is the gateway of both families', bridge('10.5.9.1/24 fc00:0:0:9::1/64 fe80::1/64'), [], ''],
    [
      'of an earlier subnet goes where nobody is on record',
      bridge('10.5.3.1/24', 2),
      [reservation('10.5.9.2', 'a'), reservation('10.5.9.3', 'b')],
      '10.5.3.1/24 removable',
    ],
    ['stays with containers that nobody has on record', bridge('10.5.3.1/24', 1), [], '10.5.3.1/24'],
    ['stays with containers on record', bridge('10.5.3.1/24'), [reservation('10.5.3.7', 'x', 'crio')], '10.5.3.1/24'],
    ['behind the gateway is none of the plugin’s business', bridge('10.5.9.1/24 10.5.3.1/24'), [], ''],
    ['before the gateway is', bridge('10.5.3.1/24 10.5.9.1/24'), [], '10.5.3.1/24 removable'],
    ['of another length is not the gateway', bridge('10.5.9.1/16'), [reservation('10.5.9.2')], '10.5.9.1/16'],
    ['of another network goes from an empty bridge only', bridge('10.88.0.1/16'), [], '10.88.0.1/16 removable'],
    ['of another network stays under containers', bridge('10.88.0.1/16', 1), [reservation('10.5.9.2')], '10.88.0.1/16'],
    ['of IPv6 counts inside the network', bridge('fc00:0:0:3::1/64'), [], 'fc00:0:0:3::1/64 removable'],
    ['of IPv6 beside it may stand there', bridge('fd00::1/64 fe80::1/64'), [], ''],
    ['of IPv6 around it may not', bridge('fc00::9/16'), [], 'fc00::9/16 removable'],
  ]
  for (const [what, facts, on, stale] of cases) {
    it(what, () => {
      const found = staleAddresses(facts, on, own)
      const words = found.map(
        ({ address, length, removable }) => `${address}/${length}${removable ? ' removable' : ''}`,
      )
      assert.equal(words.join(', '), stale)
    })
  }

  it('of a family that is not leased is nobody’s', () => {
    const only6 = { ...own, subnets: new Map([...own.subnets].slice(1)) }
    assert.deepEqual(staleAddresses(bridge('10.88.0.1/16'), [], only6), [])
  })
})

describe('conditions of CNI', () => {
  const name = (facts: Partial<CniFacts>, more: Partial<CniJudgement> = {}) =>
    cniConditions({ ...nothing, ...facts }, { ...judged, ...more })
  const config = (file: string, text = '{"name":"x","plugins":[{"type":"calico"}]}') => ({ name: file, text })

  it('are none where all is well', () => {
    const configs = [config('10-flannel.conflist'), config('100-crio-bridge.conf'), config('87-podman.conflist')]
    assert.deepEqual(name({ configs, bridge: bridge('10.5.9.1/24') }), [])
  })

  it('name what sorts first, by weight of how the runtime chooses', () => {
    const configs = [config('05-calico.conflist'), config('10-containerd-net.conflist'), config('10-flannel.conflist')]
    const [kubernetes] = name({ configs })
    assert.equal(kubernetes?.severity, 'warning')
    assert.match(
      kubernetes?.text ?? '',
      /net\.d\/05-calico\.conflist \(network "x", plugins "calico"\), .*10-containerd/,
    )
    assert.equal(name({ configs }, { picksFirst: false })[0]?.severity, 'info')
  })

  it('do not name what sorts first and hands on to this network', () => {
    const copyOfOurs = (subnet: string, ...more: readonly string[]) => {
      const plugins = [{ type: 'bridge', ipam: { ranges: [[{ subnet }]] } }, ...more.map((type) => ({ type }))]
      return JSON.stringify({ cniVersion: '0.3.1', name: 'cbr0', plugins })
    }
    const cases: readonly [text: string, codes: string][] = [
      ['{"name":"multus-cni-network","type":"multus","clusterNetwork":"/etc/cni/net.d/10-flannel.conflist"}', ''],
      ['{"name":"node-cni-network","type":"multus-shim","logToStderr":true}', ''],
      ['{"name":"cbr0","type":"multus","delegates":[{"name":"cbr0","plugins":[{"type":"bridge"}]}]}', ''],
      ['{"name":"multi","plugins":[{"type":"multus"},{"type":"tuning"}]}', ''],
      [copyOfOurs('10.5.9.0/24', 'portmap', 'istio-cni'), ''],
      [copyOfOurs('10.5.3.0/24', 'portmap', 'istio-cni'), 'cni-config-stale'],
      [copyOfOurs('10.5.9.0/24', 'portmap'), 'cni-config-first cni-network-twice'],
      ['{"name":"cbr0","plugins":[{"type":"flannel"},{"type":"portmap"}]}', 'cni-config-first cni-network-twice'],
      ['{"name":"other","plugins":[{"type":"flannel"},{"type":"portmap"}]}', 'cni-config-first'],
      ['{"name":"k8s-pod-network","plugins":[{"type":"calico"}]}', 'cni-config-first'],
    ]
    for (const [text, codes] of cases) {
      const found = name({ configs: [config('00-multus.conf', text), config('10-flannel.conflist')] })
      assert.equal(found.map(({ code }) => code).join(' '), codes, text)
    }
  })

  it('name an old subnet only where it is of this network and not part of the own one', () => {
    const host = (subnet: string) =>
      config('90-x.conflist', `{"name":"x","type":"bridge","ipam":{"type":"host-local","subnet":"${subnet}"}}`)
    const codes = (subnet: string, more = {}) => name({ configs: [host(subnet)] }, more).map(({ code }) => code)
    assert.deepEqual(codes('10.5.3.0/24'), ['cni-config-stale'])
    for (const fine of ['10.5.9.0/24', '10.5.9.128/25', '10.5.0.0/16', '10.85.0.0/16'])
      assert.deepEqual(codes(fine), [])
    assert.deepEqual(codes('10.5.3.0/24', { own: undefined }), [])
  })

  it('print what others have written as one short line', () => {
    const hostile = `${'x'.repeat(500)}\\n\\u001b[31m$(reboot)`
    const configs = [
      config('00\n.conflist', `{"name":"${hostile}","type":"${hostile}"}`),
      { name: '01.conf', text: undefined },
    ]
    const reservations = [reservation('10.5.3.7', '\u001b[2J\n'.repeat(100))]
    for (const { text, remedy } of name({ configs, reservations, bridge: bridge('10.5.3.1/24') })) {
      assert.doesNotMatch(text + remedy, /[\p{Cc}]/u)
      assert.ok(text.length < 700, text)
    }
  })

  it('name at most eight holders of an old address', () => {
    const reservations = Array.from({ length: 20 }, (_, n) => reservation(`10.5.3.${n + 2}`, `c${n}`))
    const [found] = name({ reservations, bridge: bridge('10.5.3.1/24', 20) })
    assert.match(found?.text ?? '', /10\.5\.3\.2 by c0, .*10\.5\.3\.9 by c7 and 12 more/)
  })

  it('tell a full subnet from one full of the dead', () => {
    const reservations = Array.from({ length: 250 }, (_, n) => reservation(`10.5.9.${n + 2}`, `c${n}`))
    assert.match(name({ reservations, bridge: bridge('10.5.9.1/24', 250) })[0]?.remedy ?? '', /larger subnets/)
    assert.match(name({ reservations, bridge: bridge('10.5.9.1/24', 3) })[0]?.text ?? '', /that are gone/)
    assert.deepEqual(name({ reservations: reservations.slice(0, 200) }), [])
  })

  it('say of a full subnet nothing new when containers come and go', () => {
    const of = (count: number, ports: number, held: readonly string[] = []) => {
      const reservations = Array.from({ length: count }, (_, n) => reservation(`10.5.9.${n + 2}`, `c${n}`))
      return name({ reservations, bridge: bridge('10.5.9.1/24', ports) }, { held: new Set(held) })
    }
    const [first] = of(230, 230)
    assert.match(first?.text ?? '', /^nearly all of the 253 addresses of 10\.5\.9\.0\/24 .* hang on cni0: /)
    for (const [count, ports] of [
      [240, 240],
      [253, 251],
      [253, 140],
      [203, 203],
    ] as const)
      assert.deepEqual(of(count, ports, ['cni-addresses']), [first])
    assert.deepEqual(of(227, 227), [])
    assert.deepEqual(of(202, 202, ['cni-addresses']), [])
  })

  it('name no subnet as full that has no addresses for containers', () => {
    const full = (subnet: string, addresses: readonly string[]) => {
      const reservations = addresses.map((address) => reservation(address))
      const [found] = name({ reservations }, { own: { ...own, subnets: new Map([[4, subnet as Cidr]]) } })
      return found?.code
    }
    assert.deepEqual(
      [full('10.5.9.0/31', []), full('10.5.9.0/32', []), full('10.5.9.0/30', [])],
      Array(3).fill(undefined),
    )
    assert.equal(full('10.5.9.0/30', ['10.5.9.2']), 'cni-addresses')
  })

  it('have each a remedy', () => {
    const everything: Partial<CniFacts> = {
      configs: [
        config('00.conf'),
        config('20.conf', '{"name":"cbr0","type":"bridge","ipam":{"subnet":"10.5.3.0/24"}}'),
      ],
      plugins: new Map([['portmap', 'missing']]),
      bridge: bridge('10.5.3.1/24', 1),
      reservations: Array.from({ length: 250 }, (_, n) => reservation(`10.5.9.${n + 2}`)),
      unreadable: ['EACCES', 'EIO', 'EMFILE'].map((code) => ({ path: `/x/${code}`, code, message: code })),
    }
    const found = [...name(everything), ...name(everything, { pluginsFrom: '/plugins' })]
    assert.equal(new Set(found.map(({ code }) => code)).size, 3 + 6)
    for (const { code, remedy } of found) assert.match(remedy, /^[a-z].{20,}$/, code)
  })

  it('are about plugins only where no conflist is written', () => {
    const facts = { configs: [config('00.conf')], plugins: new Map([['portmap', 'missing']]) }
    assert.deepEqual(
      name(facts, { network: undefined }).map(({ code }) => code),
      ['cni-plugins'],
    )
  })
})
