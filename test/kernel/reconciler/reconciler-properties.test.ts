import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { DesiredState } from '../../../kernel/desired.ts'
import { type DesiredObject, type KernelObject, keyOf, type Link, type Route } from '../../../kernel/objects.ts'
import { MemoryJournal } from '../../../kernel/reconciler/journal.ts'
import { preview } from '../../../kernel/reconciler/preview.ts'
import { Reconciler } from '../../../kernel/reconciler/reconciler.ts'
import { silentLogger } from '../../../lib/log.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'
import { FakeKernel, type Fault } from '../../fakes/kernel.ts'
import { repeat } from '../../long.ts'
import * as the from '../fixtures.ts'

const { BOOT_PROTOCOL: boot } = the
const some = fc.integer({ min: 2, max: 6 })

/** Who may have been on the host before us, or is there beside us. What the first two made is ours to change and to remove. */
const EARLIER_RUN = 'an earlier run'
const FLANNEL = 'flannel, which was here before'
const OTHERS = ['a routing daemon', 'the operator', 'another instance'] as const

interface Placed {
  readonly object: KernelObject
  readonly maker: string
}

const by = (maker: string) => (object: KernelObject) => ({ object, maker })
const subnets = some.map((number) => `10.64.${number}.0/24`)
const uplink = (fields: Partial<Route>): Partial<Route> => ({ via: the.ip('192.0.2.9'), device: 'eth0', ...fields })
const blackhole = { type: 'blackhole', metric: 77 } as const

/** What may lie in a kernel when we come, and who put it there: at wanted keys and elsewhere. */
const placed: fc.Arbitrary<Placed> = fc.oneof(
  subnets.map((dst) => the.peerRoute(dst)).map(by(EARLIER_RUN)),
  subnets.map((dst) => the.route(dst, uplink({}))).map(by(EARLIER_RUN)),
  subnets.map((dst) => the.route(dst, blackhole)).map(by(EARLIER_RUN)),
  fc
    .tuple(some, some)
    .map(([a, b]) => the.neighbour(`10.64.${a}.0`, the.mac(b)))
    .map(by(EARLIER_RUN)),
  fc
    .tuple(some, some)
    .map(([a, b]) => the.fdb(the.mac(a), `192.0.2.${b}`))
    .map(by(EARLIER_RUN)),
  some.map((number) => the.address(`10.64.${number}.0/32`)).map(by(EARLIER_RUN)),
  some.map((number) => the.nexthop(`10.64.${number}.0`)).map(by(EARLIER_RUN)),
  subnets.map((dst) => the.peerRoute(dst, { protocol: boot })).map(by(FLANNEL)),
  subnets.map((dst) => the.route(dst, uplink({ protocol: boot }))).map(by(FLANNEL)),
  fc
    .tuple(subnets, fc.constantFrom(4, 186), fc.constantFrom({}, uplink({}), blackhole))
    .map(([dst, protocol, how]) => the.peerRoute(dst, { protocol, ...how }))
    .map(by(OTHERS[0])),
  subnets.map((dst) => the.route(dst, { ...blackhole, protocol: boot })).map(by(OTHERS[1])),
  some.map((number) => the.route(`172.16.${number}.0/24`, uplink({ protocol: boot }))).map(by(OTHERS[1])),
  some.map((number) => the.route(`10.64.${number}.0/25`, uplink({ protocol: boot }))).map(by(OTHERS[1])),
  some.map((number) => the.neighbour(`192.0.2.${number}`, the.mac(number), 'eth0')).map(by(OTHERS[1])),
  some.map((number) => the.route(`172.16.${number}.0/24`, uplink({}))).map(by(OTHERS[2])),
)
const device = fc.constantFrom(
  undefined,
  the.vxlan(),
  the.vxlan('flannel.1', { mtu: 1300, up: false }),
  the.vxlan('flannel.1', { mac: the.mac(1) }, { local: the.ip('192.0.2.3') }),
  the.vxlan('flannel.1', {}, { vni: 9 }),
  the.vxlan('flannel.9'),
)
const actual = fc.record({ device, objects: fc.array(placed, { maxLength: 12 }) })
const desired = fc
  .record({
    peers: fc.uniqueArray(some, { maxLength: 5 }),
    vni: fc.constantFrom(1, 1, 1, 2),
    through: fc.constantFrom(undefined, 'nexthops' as const),
  })
  .map(({ peers, vni, through }) => wantedWith(peers, vni, through))

function wantedWith(peers: readonly number[], vni = 1, through?: 'nexthops'): DesiredState {
  const wayTo = (number: number) => (through === undefined ? the.peer(number) : overNexthop(the.peer(number)))
  const objects: DesiredObject[] = [...the.local({}, { vni }), ...peers.flatMap(wayTo)]
  const scope = { ...the.desiredOf([]).scope, devices: new Set(['flannel.1', 'flannel.9']) }
  return the.desiredOf(objects, { scope })
}

function overNexthop(peer: readonly DesiredObject[]): readonly DesiredObject[] {
  return peer.flatMap((object): readonly DesiredObject[] => {
    const { role } = object
    if (object.kind !== 'route' || object.via === undefined) return [object]
    return [
      { ...the.nexthop(object.via), role },
      { ...the.throughNexthop(object), role },
    ]
  })
}

function fill(kernel: FakeKernel, { device, objects }: { device: Link | undefined; objects: readonly Placed[] }): void {
  if (device !== undefined) {
    kernel.change({ verb: 'create', object: device })
    kernel.makers.give(device, FLANNEL)
  }
  for (const each of objects) place(kernel, each)
}

/** Does nothing without the device that it is to be on. */
function place(kernel: FakeKernel, { object, maker }: Placed): void {
  const on = 'device' in object ? object.device : undefined
  if (on !== undefined && kernel.get(`link ${on}`) === undefined) return
  kernel.put(object)
  kernel.makers.give(object, maker)
}

/**
 * Whose an object is, said once more and without the product: who made it counts. Of others only what stands where something of ours is
 * wanted may be changed: a route as `ip route add` and flannel make them, a device of our kind and name, and values that are set.
 * `isUnheard`: of what others did now, no event may have come yet.
 */
function watchMakers(kernel: FakeKernel, isUnheard = () => false): (wanted: DesiredState) => void {
  let wanted: readonly DesiredState[] = []
  kernel.makers.leavers.add(EARLIER_RUN).add(FLANNEL)
  kernel.makers.mayChange = (object) => {
    // Of the last two: a pass that runs goes by the one before.
    const isWanted = wanted.some(({ objects }) => objects.has(keyOf(object)))
    switch (object.kind) {
      case 'route':
        // The kernel replaces what stands at the key, whatever has come there since it was last heard of.
        return isWanted && (object.protocol === boot || isUnheard())
      case 'link':
        return isWanted && object.driver.type === 'vxlan'
      default:
        return isWanted && ['sysctl', 'file'].includes(object.kind)
    }
  }
  return (next) => {
    wanted = [...wanted.slice(-1), next]
  }
}

/** All that is wanted is in place but where an object of others is in the way, nothing else of ours is left, and nobody was harmed. */
function assertConverged({ kernel, reconciler }: Pick<the.Rig, 'kernel' | 'reconciler'>, wanted: DesiredState): void {
  assert.deepEqual(kernel.makers.offences, [])
  const inTheWay = new Set<string>()
  for (const [key, { cause, text }] of reconciler.failures()) {
    assert.equal(cause, 'foreign', `${key}: ${text}`)
    inTheWay.add(key)
  }
  the.assertInPlace(
    kernel,
    the.desiredOf([...wanted.objects.values()].filter((object) => !inTheWay.has(keyOf(object)))),
  )
  for (const kind of ['route', 'nexthop', 'neighbour', 'fdb', 'address', 'link'] as const) {
    for (const object of kernel.all(kind)) {
      const isOthers = [...OTHERS, 'others'].includes(kernel.makers.of(object))
      const key = keyOf(object)
      assert.equal(isOthers, inTheWay.has(key) || !wanted.objects.has(key), `${kernel.makers.of(object)}: ${key}`)
    }
  }
}

/** A rig that knows who made what, with that on the host. */
function rigOn(state: Parameters<typeof fill>[1] = { device: undefined, objects: [] }) {
  const rig = the.rig()
  const note = watchMakers(rig.kernel)
  fill(rig.kernel, state)
  const setDesired = (wanted: DesiredState) => {
    note(wanted)
    return rig.reconciler.setDesired(wanted)
  }
  return {
    ...rig,
    setDesired,
    want: async (wanted: DesiredState) => {
      setDesired(wanted)
      await settleTasks()
    },
  }
}

const CODES = ['EINTR', 'EBUSY', 'ENOBUFS', 'EEXIST', 'ESRCH', 'ENOENT', 'ENODEV', 'ENOMEM', 'EPERM'] as const

type Blow = (kernel: FakeKernel) => void
const key = fc
  .constantFrom(...wantedWith([2, 3, 4], 1, 'nexthops').objects.keys())
  .filter((name) => !/^(sysctl|file)/.test(name))
/** What others, or the kernel by itself, may do at any time. */
const blow: fc.Arbitrary<Blow> = fc.oneof(
  key.map((name) => (kernel: FakeKernel) => kernel.delete(name)),
  placed.map((each) => (kernel: FakeKernel) => place(kernel, each)),
  fc.constant<Blow>((kernel) => kernel.changeDevice('flannel.1', { up: false })),
  fc.constant<Blow>((kernel) => kernel.changeDevice('flannel.1', { mac: the.mac(77), mtu: 1280 })),
  fc.constant<Blow>((kernel) => kernel.delete('link flannel.1')),
  fc.constant<Blow>((kernel) => kernel.overrun()),
)

describe('reconciler properties', function () {
  this.timeout(120_000)

  it('comes from any state to any state, harms nobody, and then does nothing more', async () => {
    await fc.assert(
      fc.asyncProperty(actual, desired, desired, async (state, first, second) => {
        const rig = rigOn(state)
        try {
          for (const wanted of [first, second]) {
            await rig.want(wanted)
            await rig.clock.advance(2_000)
            assertConverged(rig, wanted)
            assert.deepEqual((await preview(rig.kernel.tables, wanted)).ops, [])
          }
        } finally {
          await rig.reconciler.stop()
        }
      }),
      { numRuns: repeat(60, 2_000) },
    )
  })

  it('does what the preview says', async () => {
    await fc.assert(
      fc.asyncProperty(actual, desired, async (state, wanted) => {
        // With the same number it is in the way of ours, which the kernel refuses until it is gone.
        fc.pre(state.device?.name !== 'flannel.9')
        const rig = rigOn(state)
        try {
          const { ops, failures } = await preview(rig.kernel.tables, wanted)
          // Another MAC, or up again: the kernel drops entries, which shows only when it has been done.
          fc.pre(!ops.some(({ verb, object }) => verb === 'update' && object.kind === 'link'))
          const before = rig.kernel.calls.length
          await rig.want(wanted)
          const done = rig.kernel.calls
            .slice(before)
            .flatMap(({ verb, kind }) => (verb === 'dump' ? [] : [{ verb, kind }]))
          const said = ops.map(({ verb, object: { kind } }) => ({ verb, kind }))
          assert.deepEqual(
            done.map(({ kind }) => kind),
            said.map(({ kind }) => kind),
          )
          // In whatever order within a kind. A device that is made brings its sysctls along.
          const texts = (calls: typeof said) =>
            calls.map(({ verb, kind }) => (kind === 'sysctl' ? kind : `${verb} ${kind}`)).sort()
          assert.deepEqual(texts(done), texts(said))
          assert.deepEqual([...failures.keys()].sort(), [...rig.reconciler.failures().keys()].sort())
        } finally {
          await rig.reconciler.stop()
        }
      }),
      { numRuns: repeat(50, 2_000) },
    )
  })

  for (const done of [false, true]) {
    it(`converges although any one call fails${done ? ' and is done all the same' : ''}`, async () => {
      const wanted = wantedWith([2, 3])
      const left = [...the.peer(4), the.fdb(the.mac(2), '192.0.2.44')].map(by(EARLIER_RUN))
      const before = { device: the.vxlan('flannel.1', { mtu: 1300 }), objects: left }
      const calls = await callsFor(wanted, before)
      for (let index = 0; index < calls; index += 1) {
        for (const code of CODES) {
          const rig = rigOn(before)
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
    const most = (await callsFor(wanted)) + 4
    const call = fc.record({
      index: fc.integer({ min: 0, max: most }),
      code: fc.constantFrom(...CODES),
      done: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(call, call, async (a, b) => {
        const rig = rigOn()
        try {
          rig.kernel.fault = ({ index }) => [a, b].find((fault) => fault.index === index)
          await rig.want(wanted)
          await rig.clock.advance(2_000)
          assertConverged(rig, wanted)
        } finally {
          await rig.reconciler.stop()
        }
      }),
      { numRuns: repeat(100, 5_000) },
    )
  })

  it('heals whatever happens to the kernel, with the events in any company', async () => {
    const step = fc.record({
      blow,
      wait: fc.constantFrom(0, 5, 30, 400),
      peers: fc.option(fc.uniqueArray(some, { maxLength: 4 })),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 10 }), async (steps) => {
        const rig = rigOn()
        try {
          let wanted = wantedWith([2, 3])
          await rig.want(wanted)
          for (const { blow, wait, peers } of steps) {
            blow(rig.kernel)
            if (peers !== null) {
              wanted = wantedWith(peers)
              rig.setDesired(wanted)
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
      { numRuns: repeat(60, 2_000) },
    )
  })

  it('comes to what is wanted though it dies at any call, calls fail and events come late', async () => {
    const fault = fc.record({
      index: fc.integer({ min: 0, max: 200 }),
      /** So many calls one after the other: three dumps that fail are a kind that cannot be read. */
      calls: fc.integer({ min: 1, max: 5 }),
      code: fc.constantFrom(...CODES),
      done: fc.boolean(),
    })
    const step = fc.record({
      blow: fc.option(blow),
      wait: fc.constantFrom(0, 5, 30, 400, 3_000),
      wanted: fc.option(desired),
      /** It dies so many calls from here. */
      diesAt: fc.option(fc.integer({ min: 0, max: 30 })),
    })
    const story = fc.record({
      state: actual,
      steps: fc.array(step, { minLength: 1, maxLength: 8 }),
      faults: fc.array(fault, { maxLength: 12 }),
      eventsLateBy: fc.constantFrom(0, 7, 300, 2_000),
    })
    await fc.assert(
      fc.asyncProperty(story, async ({ state, steps, faults, eventsLateBy }) => {
        const host = new MortalHost(state, { faults, eventsLateBy })
        try {
          for (const { blow, wait, wanted, diesAt } of steps) {
            if (diesAt !== null) host.dieAfter(diesAt)
            if (blow !== null) host.suffer(blow)
            if (wanted !== null) host.setDesired(wanted)
            if (wait > 0) await host.clock.advance(wait)
            if (host.isDead) await host.restart()
          }
          await host.restore()
          // As long as the longest wait for another try.
          await host.clock.advance(eventsLateBy + 31_000)
          assertConverged(host, host.wanted)
          assert.deepEqual((await preview(host.kernel.tables, host.wanted)).ops, [])
        } finally {
          await host.reconciler.stop()
        }
      }),
      { numRuns: repeat(50, 1_500) },
    )
  })
})

interface Trouble {
  readonly faults: readonly (Fault & { readonly index: number; readonly calls: number })[]
  /** Milliseconds. */
  readonly eventsLateBy: number
}

/** A host whose daemon dies and comes again, with a kernel that refuses calls; the journal is all that outlives it. */
class MortalHost {
  readonly kernel = new FakeKernel()
  readonly clock = new VirtualClock()
  wanted = wantedWith([2, 3])
  reconciler: Reconciler
  isDead = false
  readonly #journal = new MemoryJournal()
  readonly #note: (wanted: DesiredState) => void
  readonly #eventsLateBy: number
  #callsLeft = Number.POSITIVE_INFINITY
  #sufferedAt = Number.NEGATIVE_INFINITY

  constructor(state: Parameters<typeof fill>[1], { faults, eventsLateBy }: Trouble) {
    this.#eventsLateBy = eventsLateBy
    this.kernel.addDevice('eth0')
    this.kernel.change({ verb: 'create', object: the.address('192.0.2.1/16', 'eth0') })
    this.#note = watchMakers(this.kernel, () => this.clock.now() <= this.#sufferedAt + eventsLateBy)
    fill(this.kernel, state)
    this.kernel.fault = ({ index }) => {
      this.#callsLeft -= 1
      // What is dead calls no more: nothing comes of what the rest of its batch asks for.
      if (this.#callsLeft < 0) this.isDead = true
      return this.isDead
        ? { code: 'EIO' }
        : faults.find((fault) => index >= fault.index && index < fault.index + fault.calls)
    }
    this.reconciler = this.#start()
  }

  suffer(blow: Blow): void {
    this.#sufferedAt = this.clock.now()
    blow(this.kernel)
  }

  dieAfter(calls: number): void {
    this.#callsLeft = calls
  }

  setDesired(wanted: DesiredState): void {
    this.wanted = wanted
    this.#note(wanted)
    this.reconciler.setDesired(wanted)
  }

  async restart(): Promise<void> {
    await this.reconciler.stop()
    this.#callsLeft = Number.POSITIVE_INFINITY
    this.isDead = false
    this.reconciler = this.#start()
  }

  /** From now on all goes well. */
  async restore(): Promise<void> {
    this.dieAfter(Number.POSITIVE_INFINITY)
    if (this.isDead) await this.restart()
    this.kernel.fault = () => undefined
  }

  #start(): Reconciler {
    const { clock, kernel } = this
    const reconciler = new Reconciler({ tables: kernel.tables, clock, log: silentLogger, journal: this.#journal })
    kernel.onEvents = (events) => {
      if (this.#eventsLateBy === 0) reconciler.onEvents(events)
      else void clock.sleep(this.#eventsLateBy, new AbortController().signal).then(() => reconciler.onEvents(events))
    }
    this.#note(this.wanted)
    reconciler.setDesired(this.wanted)
    return reconciler
  }
}

async function callsFor(wanted: DesiredState, before?: Parameters<typeof fill>[1]): Promise<number> {
  const rig = rigOn(before)
  await rig.want(wanted)
  await rig.clock.advance(1_000)
  await rig.reconciler.stop()
  return rig.kernel.calls.length
}
