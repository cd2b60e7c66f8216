import assert from 'node:assert/strict'
import type { Footprint } from '../../flanneld/state/footprint.ts'
import { OwnFootprint } from '../../flanneld/state/own-footprint.ts'
import type { Failure } from '../../kernel/desired.ts'
import { type KernelObject, keyOf, type ObjectKind } from '../../kernel/objects.ts'
import { asDesired } from '../../kernel/reconciler/diff.ts'
import { silentLogger } from '../../lib/log.ts'
import * as the from '../kernel/fixtures.ts'

const network = (text: string) => ({ network: the.cidr(text), subnetLen: 24 })
const uses = (
  devices: readonly string[],
  networks: readonly string[],
  fouPorts: readonly number[] = [],
): Footprint => ({
  devices: new Set(devices),
  networks: networks.map(network),
  ...(fouPorts.length === 0 ? {} : { fouPorts: new Set(fouPorts) }),
})
const text = ({ devices, networks, fouPorts }: Footprint) =>
  [...devices, ...networks.map((each) => each.network), ...(fouPorts ?? [])].join(' ')

const PRESENT = uses(['flannel.2'], ['10.64.0.0/16'])
const BEFORE = uses(['flannel.1', 'flannel0'], ['10.5.0.0/16', '10.64.0.0/16'], [8285])
const ALL = 'flannel.1 flannel0 flannel.2 10.5.0.0/16 10.64.0.0/16 8285'

/** After the start of an instance that used `BEFORE` and now uses `PRESENT`, beside these others. */
async function started(others: readonly Footprint[] = []) {
  const state = {
    footprint: BEFORE,
    become: async (next: Footprint) => {
      state.footprint = next
    },
  }
  const footprint = new OwnFootprint({ state, claim: { make: async () => others }, log: silentLogger })
  await footprint.record(PRESENT)
  return { state, footprint }
}

const desired = the.desiredOf([the.required(the.vxlan('flannel.2'))])
const refusing = (cause: Failure['cause'], ...objects: readonly KernelObject[]) =>
  new Map(objects.map((object) => [keyOf(object), { key: keyOf(object), object: asDesired(object), cause, text: '' }]))
const nothingUnreadable = new Map<ObjectKind, { text: string; code: string }>()

describe('what an instance calls its own', () => {
  it('grows by what a new configuration uses', async () => {
    const { state } = await started()
    assert.equal(text(state.footprint), ALL)
  })

  const kept: [what: string, failures: ReadonlyMap<string, Failure>, left: string][] = [
    ['everything earlier when nothing was refused', new Map(), 'flannel.2 10.64.0.0/16'],
    [
      'what was refused only for what is wanted now',
      refusing('refused', the.vxlan('flannel.2')),
      'flannel.2 10.64.0.0/16',
    ],
    [
      'all but a device that the kernel does not let go of',
      refusing('refused', the.vxlan('flannel.1')),
      'flannel.1 flannel.2 10.64.0.0/16',
    ],
    [
      'all but a device with an address that stays',
      refusing('refused', the.address('10.5.1.0/32', 'flannel0')),
      'flannel0 flannel.2 10.64.0.0/16',
    ],
    ['all but a FOU port in use', refusing('refused', the.fouPort(8285)), 'flannel.2 10.64.0.0/16 8285'],
    [
      'all but a network with a route that stays',
      refusing('refused', the.route('10.5.3.0/24', { device: 'eth0', via: the.ip('192.0.2.9') })),
      'flannel.2 10.5.0.0/16 10.64.0.0/16',
    ],
    [
      'what another program makes again and again',
      refusing('fought', the.vxlan('flannel.1')),
      'flannel.2 10.64.0.0/16',
    ],
  ]
  for (const [what, failures, left] of kept) {
    it(`gives up ${what}`, async () => {
      const { state, footprint } = await started()
      assert.equal(await footprint.shrink({ failures, unreadable: nothingUnreadable }, desired), true)
      assert.equal(text(state.footprint), left)
      assert.equal(await footprint.shrink({ failures, unreadable: nothingUnreadable }, desired), false)
    })
  }

  it('gives up nothing while it is not known what the kernel has, or who the peers are', async () => {
    const { state, footprint } = await started()
    for (const kind of ['link', 'address', 'route', 'fou-port'] as const) {
      const unreadable = new Map([[kind, { text: '', code: 'EINTR' }]])
      assert.equal(await footprint.shrink({ failures: new Map(), unreadable }, desired), false)
    }
    const partial = { ...desired, complete: false }
    await footprint.shrink({ failures: new Map(), unreadable: nothingUnreadable }, partial)
    assert.equal(text(state.footprint), ALL)
  })

  const others: [what: string, other: Footprint, left: string][] = [
    ['a device', uses(['flannel.1'], ['10.77.0.0/16']), 'flannel0 flannel.2 10.5.0.0/16 10.64.0.0/16 8285'],
    ['a FOU port', uses(['x'], ['10.77.0.0/16'], [8285]), 'flannel.1 flannel0 flannel.2 10.5.0.0/16 10.64.0.0/16'],
    ['a network', uses(['x'], ['10.5.128.0/17']), 'flannel.1 flannel0 flannel.2 10.64.0.0/16 8285'],
    ['a wider network', uses(['x'], ['10.4.0.0/15']), 'flannel.1 flannel0 flannel.2 10.64.0.0/16 8285'],
  ]
  for (const [what, other, left] of others) {
    it(`does not hold ${what} of old that another running instance uses now`, async () => {
      const { state } = await started([other])
      assert.equal(text(state.footprint), left)
    })
  }
})
