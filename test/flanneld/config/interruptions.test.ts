import assert from 'node:assert/strict'
import type { EndedConnections } from '../../../flanneld/config/ended-connections.ts'
import { type Change, interruptions, routesLeaving } from '../../../flanneld/config/interruptions.ts'
import { parseConfiguration } from '../../../flanneld/node/configuration.ts'
import type { KernelObject } from '../../../kernel/objects.ts'
import type { Op } from '../../../kernel/table.ts'
import * as the from '../../kernel/fixtures.ts'

const read = (backend: object) =>
  parseConfiguration(JSON.stringify({ Network: '10.64.0.0/16', Backend: backend }), 'net-conf.json')
const vxlan = read({ Type: 'vxlan' })
const none = { count: 0, unknown: '' }

describe('what a change could interrupt', () => {
  const found = (
    ops: readonly Op<KernelObject>[],
    ended: EndedConnections = none,
    { inUse, next }: Pick<Change, 'inUse' | 'next'> = { inUse: vxlan, next: vxlan },
  ) => interruptions({ inUse, next, ops, left: [], unreached: [], isBeside: false }, ended)
  const moved: Op<KernelObject> = {
    verb: 'update',
    object: the.route('10.64.9.0/24', { device: 'eth0' }),
    actual: the.route('10.64.9.0/24', { device: 'flannel.1' }),
  }
  const stays: Op<KernelObject> = {
    verb: 'update',
    object: the.route('10.64.8.0/24', { device: 'flannel.1', metric: 1 }),
    actual: the.route('10.64.8.0/24', { device: 'flannel.1' }),
  }

  it('is nothing where no route changes its device', () => {
    assert.deepEqual(found([stays, { verb: 'create', object: the.route('10.64.7.0/24') }]), [])
  })

  it('is every masqueraded connection to a subnet whose route changes its device, and no other', () => {
    assert.deepEqual(routesLeaving({ ops: [moved, stays], left: [] }), [{ dst: '10.64.9.0/24', device: 'flannel.1' }])
    const [first, ...others] = found([moved, stays], { count: 2, unknown: '' })
    assert.deepEqual([first?.code, first?.count, others], ['masqueraded-connections', 2, []])
    assert.match(
      first?.text ?? '',
      /^masqueraded connections to the subnet whose route changes its device or goes end .*: 2 now$/,
    )
    const ops: readonly Op<KernelObject>[] = [
      { verb: 'create', object: the.route('10.64.9.0/24', { device: 'eth0', metric: 5 }) },
      { verb: 'remove', object: the.route('10.64.9.0/24', { device: 'flannel.1' }) },
    ]
    assert.equal(routesLeaving({ ops, left: [] }).length, 1)
  })

  it('is not counted where the kernel does not say', () => {
    const [first] = found([moved], { count: null, unknown: 'not permitted (EPERM)' })
    assert.equal(first?.count, undefined)
    assert.match(first?.text ?? '', /how many there are is not known: not permitted \(EPERM\)$/)
  })

  it('is a device that is made anew or goes', () => {
    const link = the.vxlan()
    assert.deepEqual(
      found([
        { verb: 'recreate', object: link, actual: link },
        { verb: 'remove', object: the.ipip() },
      ]).map(({ code }) => code),
      ['device-made-anew', 'device-removed'],
    )
  })

  it('is no device whose address stays on lo', () => {
    const stays = the.address('10.64.1.0/32', 'lo')
    assert.deepEqual(
      found([
        { verb: 'create', object: stays },
        { verb: 'remove', object: the.vxlan() },
      ]),
      [],
    )
  })

  it('is a smaller MTU, not a larger one', () => {
    const change = (before: number, after: number): Op<KernelObject> => ({
      verb: 'update',
      object: the.file(`FLANNEL_MTU=${after}\n`),
      actual: the.file(`FLANNEL_MTU=${before}\n`),
    })
    assert.match(found([change(1500, 1450)])[0]?.text ?? '', /^the MTU goes from 1500 to 1450: /)
    assert.deepEqual(found([change(1450, 1500)]), [])
  })

  it('is another engine of udp', () => {
    const engines = { inUse: read({ Type: 'udp' }), next: read({ Type: 'udp', Engine: 'userspace' }) }
    assert.deepEqual(
      found([], none, engines).map(({ code }) => code),
      ['udp-engine'],
    )
    // With another port both are there.
    const moved = { inUse: engines.inUse, next: read({ Type: 'udp', Engine: 'userspace', Port: 9000 }) }
    assert.deepEqual(found([], none, moved), [])
    assert.deepEqual(found([], none, { inUse: engines.inUse, next: engines.inUse }), [])
  })

  it('is every peer that only the present way reaches', () => {
    const change = {
      inUse: vxlan,
      next: vxlan,
      ops: [],
      left: [],
      unreached: ['a', 'b', 'c', 'd'],
      isBeside: false,
    }
    assert.deepEqual(interruptions(change, none), [
      {
        code: 'other-way',
        count: 4,
        text: '4 other nodes (a, b, c and 1 more) can be reached by the present way only, as their leases say now',
      },
    ])
    assert.deepEqual(interruptions({ ...change, isBeside: true }, none), [])
  })

  it('is every masqueraded connection to a peer whose route goes with its device', () => {
    const left = [{ dst: the.cidr('10.64.9.0/24'), device: 'flannel.1' }]
    assert.deepEqual(routesLeaving({ ops: [], left }), left)
    const change = { inUse: vxlan, next: vxlan, ops: [], left, unreached: ['10.64.9.0-24'], isBeside: true }
    assert.equal(interruptions(change, { count: 1, unknown: '' })[0]?.count, 1)
  })
})
