import assert from 'node:assert/strict'
import type { Comparison } from '../../../kernel/kinds/kind.ts'
import { missingModule } from '../../../kernel/kinds/missing-module.ts'
import { commandsFor, describe as textOf } from '../../../kernel/kinds/words.ts'
import { compare, type KernelObject } from '../../../kernel/objects.ts'
import * as the from '../fixtures.ts'

const PORT = the.fouPort(8285)
const FOU = the.ipip('flannel0', {
  local: the.ip('192.0.2.1'),
  ttl: 64,
  pathMtuDiscovery: true,
  encapsulation: { sourcePort: 8285, port: 8285 },
})
const OWN = [PORT, FOU, the.address('10.64.1.0/32', 'flannel0'), the.file('FLANNEL_SUBNET=10.64.1.1/24\n')].map(
  the.required,
)
const WANTED = the.desiredOf(OWN, {
  scope: { ...the.desiredOf([]).scope, devices: new Set(['flannel0']), fouPorts: new Set([8285]) },
})

describe('a tunnel', () => {
  const cases: readonly [string, Parameters<typeof the.ipip>[1], Comparison][] = [
    ['nothing', {}, 'same'],
    ['its address', { local: the.ip('192.0.2.9') }, 'update'],
    ['its time to live', { ttl: 0 }, 'update'],
    ['path MTU discovery', { pathMtuDiscovery: false }, 'update'],
    ['a far end', { remote: the.ip('192.0.2.9') }, 'recreate'],
    ['its underlay', { underlay: 'eth0' }, 'recreate'],
    ['its ports', { encapsulation: { sourcePort: 8285, port: 9 } }, 'recreate'],
  ]
  for (const [what, fields, expected] of cases) {
    it(`that differs in ${what}: ${expected}`, () => {
      const actual: KernelObject = { ...FOU, driver: { ...FOU.driver, ...fields } as typeof FOU.driver }
      assert.equal(compare(actual, FOU), expected)
    })
  }

  it('without encapsulation is made anew', () => {
    assert.equal(compare(the.ipip('flannel0', { local: the.ip('192.0.2.1') }), FOU), 'recreate')
  })

  it('reads as the command that makes it', () => {
    const made = 'ipip local 192.0.2.1 ttl 64 pmtudisc encap fou encap-sport 8285 encap-dport 8285'
    assert.deepEqual(commandsFor({ verb: 'create', object: FOU }), [
      `ip link add flannel0 mtu 1480 type ${made}`,
      'ip link set flannel0 up',
    ])
    assert.equal(textOf(FOU), `flannel0 mtu 1480 up type ${made}`)
    const moved = { ...FOU, driver: { ...FOU.driver, local: the.ip('192.0.2.9') } as typeof FOU.driver }
    assert.deepEqual(commandsFor({ verb: 'update', object: FOU, actual: moved }), [`ip link set flannel0 type ${made}`])
  })

  it('and its FOU port: the port first, then the device', async () => {
    const rig = the.rig()
    await rig.want(WANTED)
    rig.assertInPlace(WANTED)
    const made = rig.kernel.calls.filter(({ verb }) => verb === 'create').map(({ kind }) => kind)
    assert.deepEqual(made, ['fou-port', 'link', 'address', 'file'])
    await rig.reconciler.stop()
  })
})

describe('a FOU port', () => {
  let rig: the.Rig
  beforeEach(() => {
    rig = the.rig()
  })
  afterEach(() => rig.reconciler.stop())

  it('reads as the command that opens it', () => {
    assert.deepEqual(commandsFor({ verb: 'create', object: PORT }), ['ip fou add port 8285 ipproto 4'])
    assert.deepEqual(commandsFor({ verb: 'remove', object: PORT }), ['ip fou del port 8285'])
  })

  it('of somebody else stays; the node says who is in the way, and is not ready', async () => {
    rig.kernel.put(the.fouPort(8285, { protocol: 47 }))
    await rig.want(WANTED)
    const failure = rig.reconciler.failures().get('fou-port 8285')
    assert.equal(failure?.cause, 'foreign')
    assert.match(failure?.text ?? '', /fou port 8285 ipproto 47; remove it with 'ip fou del port 8285'/)
    assert.equal(rig.kernel.get('file /run/flannel/subnet.env'), undefined)
    assert.deepEqual(rig.kernel.get('fou-port 8285'), the.fouPort(8285, { protocol: 47 }))
  })

  it('that is closed behind our back is open again after the next sweep', async () => {
    await rig.want(WANTED)
    rig.kernel.delete('fou-port 8285')
    await rig.clock.advance(31_000)
    rig.assertInPlace(WANTED)
  })

  it('of ours goes with what needed it, the device first; others stay', async () => {
    rig.kernel.put(the.fouPort(5555))
    await rig.want(WANTED)
    await rig.want({ ...the.desiredOf([]), scope: WANTED.scope })
    assert.deepEqual(rig.kernel.all('fou-port'), [the.fouPort(5555)])
    const removed = rig.kernel.calls.filter(({ verb }) => verb === 'remove').map(({ kind }) => kind)
    assert.deepEqual(removed, ['link', 'fou-port'])
  })

  it('that the kernel cannot open names the module', async () => {
    rig.kernel.fault = ({ kind, verb }) =>
      kind === 'fou-port' && verb === 'create' ? { code: 'EOPNOTSUPP' } : undefined
    await rig.want(WANTED)
    const failure = rig.reconciler.failures().get('fou-port 8285')
    assert(failure !== undefined)
    assert.equal(missingModule(failure), 'fou')
  })
})
