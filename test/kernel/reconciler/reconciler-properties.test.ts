import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { DesiredState } from '../../../kernel/desired.ts'
import { ownershipOf } from '../../../kernel/kinds/ownership.ts'
import { type DesiredObject, type KernelObject, keyOf } from '../../../kernel/objects.ts'
import { preview } from '../../../kernel/reconciler/preview.ts'
import { settleTasks } from '../../fakes/clock.ts'
import type { FakeKernel } from '../../fakes/kernel.ts'
import { repeat } from '../../long.ts'
import * as the from '../fixtures.ts'

const { BOOT_PROTOCOL: boot } = the
const some = fc.integer({ min: 2, max: 6 })
const protocol = fc.constantFrom(the.ROUTE_PROTOCOL, boot, 4, 186)

/** What may lie in a kernel when we come: ours, flannel's, other people's, at wanted keys and elsewhere. */
const junk: fc.Arbitrary<KernelObject> = fc.oneof(
  fc
    .record({ number: some, protocol })
    .map(({ number, protocol }) => the.peerRoute(`10.64.${number}.0/24`, { protocol })),
  fc
    .record({ number: some, protocol, network: fc.constantFrom('10.64', '172.16') })
    .map(({ number, protocol, network }) =>
      the.route(`${network}.${number}.0/24`, { protocol, via: the.ip('192.0.2.9'), device: 'eth0' }),
    ),
  fc
    .record({ number: some, protocol })
    .map(({ number, protocol }) => the.route(`10.64.${number}.0/24`, { protocol, type: 'blackhole', metric: 77 })),
  fc.record({ a: some, b: some }).map(({ a, b }) => the.neighbour(`10.64.${a}.0`, the.mac(b))),
  fc.record({ a: some, b: some }).map(({ a, b }) => the.fdb(the.mac(a), `192.0.2.${b}`)),
  some.map((number) => the.neighbour(`192.0.2.${number}`, the.mac(number), 'eth0')),
  some.map((number) => the.address(`10.64.${number}.0/32`)),
)
const device = fc.constantFrom(
  undefined,
  the.vxlan(),
  the.vxlan('flannel.1', { mtu: 1300, up: false }),
  the.vxlan('flannel.1', { mac: the.mac(1) }, { local: the.ip('192.0.2.3') }),
  the.vxlan('flannel.1', {}, { vni: 9 }),
  the.vxlan('flannel.9'),
)
const actual = fc.record({ device, junk: fc.array(junk, { maxLength: 12 }) })
const desired = fc
  .record({ peers: fc.uniqueArray(some, { maxLength: 5 }), vni: fc.constantFrom(1, 1, 1, 2) })
  .map(({ peers, vni }) => wantedWith(peers, vni))

function wantedWith(peers: readonly number[], vni = 1): DesiredState {
  const objects: DesiredObject[] = [...the.local({}, { vni }), ...peers.flatMap((number) => the.peer(number))]
  const scope = { ...the.desiredOf([]).scope, devices: new Set(['flannel.1', 'flannel.9']) }
  return the.desiredOf(objects, { scope })
}

function fill(kernel: FakeKernel, state: { device: KernelObject | undefined; junk: readonly KernelObject[] }): void {
  if (state.device !== undefined) kernel.change({ verb: 'create', object: state.device })
  // What hangs on a device can only be there with it.
  for (const object of state.junk) {
    if (!('device' in object) || object.device === 'eth0' || state.device !== undefined) place(kernel, object)
  }
}

function place(kernel: FakeKernel, object: KernelObject): void {
  const named = 'device' in object && object.device !== undefined ? kernel.get(`link ${object.device}`) : undefined
  if (named !== undefined || !('device' in object) || object.device === undefined) kernel.put(object)
}

/** Objects that may differ at the end: those of foreign owners do not, and stand in the way. */
function assertConverged(rig: the.Rig, wanted: DesiredState): void {
  const inTheWay = new Set(
    [...rig.reconciler.failures()].filter(([, { cause }]) => cause === 'foreign').map(([key]) => key),
  )
  const reachable = [...wanted.objects.values()].filter((object) => !inTheWay.has(keyOf(object)))
  rig.assertInPlace(the.desiredOf(reachable))
  for (const [key, failure] of rig.reconciler.failures())
    assert.equal(failure.cause, 'foreign', `${key}: ${failure.text}`)
  for (const kind of ['route', 'neighbour', 'fdb', 'address', 'link'] as const) {
    for (const object of rig.kernel.all(kind)) {
      const owner = wanted.objects.has(keyOf(object)) ? 'wanted' : ownershipOf(object, wanted)
      assert(owner === 'wanted' || owner === 'foreign', `left behind: ${keyOf(object)}`)
    }
  }
}

function foreignObjects(kernel: FakeKernel, wanted: DesiredState): Map<string, KernelObject> {
  const found = new Map<string, KernelObject>()
  for (const kind of ['link', 'address', 'route', 'neighbour', 'fdb'] as const) {
    for (const object of kernel.all(kind))
      if (ownershipOf(object, wanted) === 'foreign') found.set(keyOf(object), object)
  }
  return found
}

describe('reconciler properties', function () {
  this.timeout(60_000)

  it('comes from any state to any state, leaves what is foreign, and then does nothing more', async () => {
    await fc.assert(
      fc.asyncProperty(actual, desired, desired, async (state, first, second) => {
        const rig = the.rig()
        try {
          fill(rig.kernel, state)
          for (const wanted of [first, second]) {
            const foreign = foreignObjects(rig.kernel, wanted)
            await rig.want(wanted)
            await rig.clock.advance(2_000)
            assertConverged(rig, wanted)
            const gone = [...foreign].filter(([key, object]) => {
              // A route of somebody else's through a device of ours goes with the device.
              const carrier = 'device' in object ? object.device : undefined
              return carrier !== 'flannel.1' && carrier !== 'flannel.9' && rig.kernel.get(key) === undefined
            })
            assert.deepEqual(gone, [])
            assert.deepEqual((await preview(rig.kernel.tables, wanted)).ops, [])
          }
        } finally {
          await rig.reconciler.stop()
        }
      }),
      { numRuns: 150 },
    )
  })

  const CODES = ['EINTR', 'EBUSY', 'ENOBUFS', 'EEXIST', 'ESRCH', 'ENOENT', 'ENODEV', 'ENOMEM', 'EPERM'] as const
  for (const done of [false, true]) {
    it(`converges although any one call fails${done ? ' and is done all the same' : ''}`, async () => {
      const wanted = wantedWith([2, 3])
      const before = {
        device: the.vxlan('flannel.1', { mtu: 1300 }),
        junk: [...the.peer(4), the.fdb(the.mac(2), '192.0.2.44')],
      }
      const calls = await callsFor(before, wanted)
      for (let index = 0; index < calls; index += 1) {
        for (const code of CODES) {
          const rig = the.rig()
          fill(rig.kernel, before)
          rig.kernel.fault = (call) => (call.index === index ? { code, done } : undefined)
          await rig.want(wanted)
          await rig.clock.advance(1_000)
          assertConverged(rig, wanted)
          await rig.reconciler.stop()
        }
      }
    })
  }

  it('converges after any pair of failures', async () => {
    const wanted = wantedWith([2])
    const before = { device: undefined, junk: [] }
    const most = (await callsFor(before, wanted)) + 4
    const call = fc.record({
      index: fc.integer({ min: 0, max: most }),
      code: fc.constantFrom(...CODES),
      done: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(call, call, async (a, b) => {
        const rig = the.rig()
        try {
          rig.kernel.fault = ({ index }) => [a, b].find((fault) => fault.index === index)
          await rig.want(wanted)
          await rig.clock.advance(2_000)
          assertConverged(rig, wanted)
        } finally {
          await rig.reconciler.stop()
        }
      }),
      { numRuns: repeat(200, 5_000) },
    )
  })

  it('heals whatever happens to the kernel, with the events in any company', async () => {
    type Blow = (kernel: FakeKernel) => void
    const key = fc.constantFrom(...wantedWith([2, 3, 4]).objects.keys()).filter((name) => !/^(sysctl|file)/.test(name))
    const blow: fc.Arbitrary<Blow> = fc.oneof(
      key.map(
        (name): Blow =>
          (kernel) =>
            kernel.delete(name),
      ),
      junk.map(
        (object): Blow =>
          (kernel) =>
            place(kernel, object),
      ),
      fc.constant<Blow>((kernel) => kernel.changeDevice('flannel.1', { up: false })),
      fc.constant<Blow>((kernel) => kernel.changeDevice('flannel.1', { mac: the.mac(77), mtu: 1280 })),
      fc.constant<Blow>((kernel) => kernel.delete('link flannel.1')),
      fc.constant<Blow>((kernel) => kernel.overrun()),
    )
    const step = fc.record({
      blow,
      wait: fc.constantFrom(0, 5, 30, 400),
      peers: fc.option(fc.uniqueArray(some, { maxLength: 4 })),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 10 }), async (steps) => {
        const rig = the.rig()
        try {
          let wanted = wantedWith([2, 3])
          await rig.want(wanted)
          for (const { blow, wait, peers } of steps) {
            blow(rig.kernel)
            if (peers !== null) {
              wanted = wantedWith(peers)
              rig.reconciler.setDesired(wanted)
            }
            if (wait > 0) await rig.clock.advance(wait)
          }
          await settleTasks()
          await rig.clock.advance(1_000)
          assertConverged(rig, wanted)
        } finally {
          await rig.reconciler.stop()
        }
      }),
      { numRuns: 150 },
    )
  })
})

async function callsFor(before: Parameters<typeof fill>[1], wanted: DesiredState): Promise<number> {
  const rig = the.rig()
  fill(rig.kernel, before)
  await rig.want(wanted)
  await rig.clock.advance(1_000)
  await rig.reconciler.stop()
  return rig.kernel.calls.length
}
