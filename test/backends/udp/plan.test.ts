import assert from 'node:assert/strict'
import type { AnyBackend } from '../../../backends/registry.ts'
import { udp } from '../../../backends/udp/backend.ts'
import type { UdpConfig } from '../../../backends/udp/config.ts'
import type { Family } from '../../../lib/address.ts'
import { ConfigError } from '../../../lib/errors.ts'
import { commandText, facts, lease, NO_DATA, network, planOf } from '../world.ts'

const path = { backend: '', data: NO_DATA }
const own = lease('10.5.1.0/24 192.168.64.11', path)
const backend = udp as AnyBackend
const identity = { engine: 'kernel' }

describe('udp plan of the kernel engine', () => {
  it('is a FOU port, one device, and a route via each peer', () => {
    const peers = [
      lease('10.5.2.0/24 192.168.64.12', path),
      lease('10.5.3.0/24 192.168.65.13', { backend: 'udp', data: NO_DATA }),
      lease('10.5.4.0/24 192.168.65.14', { backend: 'vxlan', data: NO_DATA }),
    ]
    const plan = planOf({ backend, identity, own, peers })
    assert.deepEqual(commandText(plan).split('\n'), [
      'ip fou add port 8285 ipproto 4',
      'ip link add flannel0 mtu 1472 type ipip local 192.168.64.11 ttl 64 pmtudisc encap fou encap-sport 8285 encap-dport 8285',
      'ip link set flannel0 up',
      'ip address add 10.5.1.0/32 dev flannel0',
      'echo 2 > /proc/sys/net/ipv4/conf/flannel0/rp_filter',
      'ip route add 10.5.2.0/24 via 192.168.64.12 dev flannel0 proto 102 onlink',
      'ip route add 10.5.3.0/24 via 192.168.65.13 dev flannel0 proto 102 onlink',
    ])
    assert.equal(plan.mtu, 1472)
    assert.deepEqual(
      plan.notices.map(({ code }) => code),
      ['udp-engine-kernel'],
    )
  })

  it('takes another port', () => {
    const text = commandText(planOf({ backend, identity, own, peers: [], config: { Port: 9999 } }))
    assert.match(text, /^ip fou add port 9999 .*encap-sport 9999 encap-dport 9999$/ms)
    assert.deepEqual(udp.fouPorts?.({ port: 9999, engine: 'auto' }), [9999])
  })
})

describe('udp plan of the userspace engine', () => {
  const plan = (config = {}, more: { readonly underlayInside?: ReadonlySet<Family> } = {}) => {
    const peers = [
      lease('10.5.2.0/24 192.168.64.12', path),
      lease('10.5.3.0/24 192.168.65.13', { backend: 'udp', data: NO_DATA }),
      lease('10.5.4.0/24 192.168.65.14', { backend: 'vxlan', data: NO_DATA }),
    ]
    return planOf({ backend, identity: { engine: 'userspace' }, own, peers, config, ...more })
  }

  it('is a tun, a proxy, a route to each peer, and one for the rest of the network', () => {
    const { objects, mtu, paths } = plan()
    assert.deepEqual(commandText(plan()).split('\n'), [
      'ip tuntap add dev flannel0 mode tun',
      'ip link set flannel0 mtu 1472 up',
      'ip address add 10.5.1.0/32 dev flannel0',
      'echo 2 > /proc/sys/net/ipv4/conf/flannel0/rp_filter',
      'echo 1 > /proc/sys/net/ipv4/conf/flannel0/accept_local',
      '# in flanneld: udp proxy of flannel0 at 192.168.64.11:8285, own address 10.5.1.0',
      'ip route add 10.5.0.0/16 dev flannel0 proto 102 scope link',
      '# in flanneld: 10.5.2.0/24 to 192.168.64.12 by the udp proxy of flannel0',
      'ip route add 10.5.2.0/24 dev flannel0 proto 102 scope link',
      '# in flanneld: 10.5.3.0/24 to 192.168.65.13 by the udp proxy of flannel0',
      'ip route add 10.5.3.0/24 dev flannel0 proto 102 scope link',
    ])
    assert.equal(mtu, 1472)
    assert.deepEqual([...paths.values()], ['tunnel', 'tunnel'])
    const roles = [...objects.values()].map(({ kind, role }) => `${kind} ${role.class}`)
    assert(roles.includes('udp-proxy required') && roles.includes('udp-peer peer'))
  })

  it('leaves the rest of the network alone where hosts live there', () => {
    const dropped = 'ip route add 10.5.0.0/16 dev flannel0 proto 102 scope link'
    const text = (inside: Family) => commandText(plan({}, { underlayInside: new Set([inside]) })).split('\n')
    assert.deepEqual(text(6), commandText(plan()).split('\n'))
    assert.deepEqual(
      text(4),
      text(6).filter((line) => line !== dropped),
    )
  })

  it('says which engine runs and why', () => {
    for (const [config, text] of [
      [{}, /runs in this process: the kernel has no FOU/],
      [{ Engine: 'userspace' }, /runs in this process: Backend.Engine says so/],
    ] as const) {
      const [notice] = plan(config).notices
      assert.equal(notice?.code, 'udp-engine-userspace')
      assert.match(notice.text, text)
    }
  })
})

describe('udp backend', () => {
  const config = (engine: UdpConfig['engine']) => ({ port: 8285, engine })
  const prepare = (engine: UdpConfig['engine'], fou: boolean) =>
    udp.prepare(config(engine), {
      network: network(4),
      facts: facts(),
      previous: undefined,
      devices: { names: new Map() },
      randomBytes: () => new Uint8Array(6),
      hasFou: async () => fou,
    })

  it('runs in a kernel that can, and publishes nothing but itself', async () => {
    for (const engine of ['auto', 'kernel'] as const) {
      assert.deepEqual(await prepare(engine, true), {
        identity,
        path: { backend: '', data: new Map() },
      })
    }
  })

  it('runs in this process where the kernel cannot, or when told to', async () => {
    for (const [engine, fou] of [
      ['auto', false],
      ['userspace', true],
    ] as const) {
      assert.deepEqual((await prepare(engine, fou)).identity, { engine: 'userspace' })
    }
  })

  it('refuses the engine kernel without FOU', async () => {
    const text = /needs the kernel module fou: .*'modprobe fou'/
    await assert.rejects(prepare('kernel', false), (cause) => cause instanceof ConfigError && text.test(cause.message))
  })

  it('reads its configuration', () => {
    const warnings: string[] = []
    assert.deepEqual(udp.parseConfig({ type: 'udp' }, warnings), config('auto'))
    assert.deepEqual(udp.parseConfig({ port: 0, engine: 'kernel' }, warnings), config('kernel'))
    assert.deepEqual(warnings, [])
    assert.throws(
      () => udp.parseConfig({ Engine: 'fast' }, warnings),
      /Backend\.Engine: must be one of auto, kernel, userspace/,
    )
    assert.throws(() => udp.parseConfig({ Port: 70000 }, warnings), /Backend\.Port/)
  })
})
