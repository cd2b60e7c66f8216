import assert from 'node:assert/strict'
import type { KernelObject } from '../../../kernel/objects.ts'
import { formerDevices, occupiedDevices } from '../../../kernel/reconciler/diff.ts'
import { preview } from '../../../kernel/reconciler/preview.ts'
import * as the from '../fixtures.ts'

const scope = { ...the.desiredOf([]).scope, devices: new Set(['flannel.1', 'flannel.2']) }
const desired = the.desiredOf([...the.local(), ...the.peer(2)], { scope })
const on = (fields: Parameters<typeof the.route>[1]) => the.route('10.64.9.0/24', { device: 'flannel.2', ...fields })

const CASES: [what: string, hanging: readonly KernelObject[], occupied: boolean][] = [
  ['nothing on it', [], false],
  ['an address of our network', [the.address('10.64.1.0/32', 'flannel.2')], false],
  ['a link-local address', [the.address('fe80::1/64', 'flannel.2')], false],
  ['an address of another network', [the.address('172.20.1.0/32', 'flannel.2')], true],
  ['both', [the.address('10.64.1.0/32', 'flannel.2'), the.address('172.20.1.0/32', 'flannel.2')], true],
  ['an IPv6 address of another network', [the.address('fd77::/128', 'flannel.2')], true],
  ['our route', [on({ via: the.ip('10.64.9.0') })], false],
  ['a route of flannel to a peer', [on({ via: the.ip('10.64.9.0'), protocol: the.BOOT_PROTOCOL })], true],
  ['a route of a routing daemon', [on({ via: the.ip('10.64.9.0'), protocol: 186 })], true],
  ['a connected route', [on({ protocol: 2, scope: 'link' })], false],
  ['such an address on a device that is wanted', [the.address('172.20.1.0/32', 'flannel.1')], false],
  ['such an address on another device', [the.address('172.20.1.0/32', 'eth0')], false],
]

describe('a device that an instance does not use any more', () => {
  it('is one of its footprint that is not wanted', () => {
    assert.deepEqual([...formerDevices(desired)], ['flannel.2'])
  })

  for (const [what, hanging, occupied] of CASES) {
    it(`with ${what} is ${occupied ? 'another’s' : 'still its own'}`, async () => {
      assert.deepEqual([...occupiedDevices(desired, hanging).keys()], occupied ? ['flannel.2'] : [])
      const links = [the.vxlan('flannel.1'), the.vxlan('flannel.2', {}, { vni: 2 })]
      const addresses = hanging.filter(({ kind }) => kind === 'address')
      const routes = hanging.filter(({ kind }) => kind === 'route')
      const neighbours = [the.neighbour('172.20.9.0', the.mac(9), 'flannel.2')]
      const { ops } = await preview(the.tablesHolding([...links, ...addresses, ...routes, ...neighbours]), desired)
      const removed = ops.flatMap(({ verb, object }) =>
        verb === 'remove' && ('device' in object ? object.device : 'name' in object && object.name) === 'flannel.2'
          ? [object.kind]
          : [],
      )
      assert.deepEqual(removed, occupied ? [] : ['link'])
    })
  }

  it('may be anybody’s while what is on it cannot be read', () => {
    assert.deepEqual([...occupiedDevices(desired, undefined).keys()], ['flannel.2'])
  })
})
