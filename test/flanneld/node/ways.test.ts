import assert from 'node:assert/strict'
import type { Configuration } from '../../../flanneld/node/configuration.ts'
import { parseConfiguration, wayKey } from '../../../flanneld/node/configuration.ts'
import { Ways } from '../../../flanneld/node/ways.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import type { OwnershipScope } from '../../../kernel/desired.ts'
import { OpFailure } from '../../../kernel/table.ts'
import type { Family } from '../../../lib/address.ts'
import { ConfigError } from '../../../lib/errors.ts'
import { settleTasks, VirtualClock } from '../../fakes/clock.ts'

const parsed = (backend: object) =>
  parseConfiguration(JSON.stringify({ Network: '10.5.0.0/16', Backend: backend }), 'test')
const first = parsed({ Type: 'vxlan' })
const direct = parsed({ Type: 'vxlan', DirectRouting: true })
const second = parsed({ Type: 'vxlan', VNI: 7 })

/** Ways whose identities are numbers that count up. */
function start(
  options: {
    refuse?: () => boolean
    lacks?: readonly Configuration[]
    lacksIpv6?: () => boolean
    claim?: (footprint: OwnershipScope) => void
  } = {},
) {
  const clock = new VirtualClock()
  const conditions = new ConditionSet({ clock })
  const calls: string[] = []
  const counting = (configuration: Configuration): Configuration => ({
    ...configuration,
    backend: {
      ...configuration.backend,
      prepare: async (config, { made, network }) => {
        calls.push(`prepare ${JSON.stringify(config)}`)
        if (network.families.has(6) && options.lacksIpv6?.())
          throw new ConfigError('public-ip', 'must be an own address')
        if (options.refuse?.() && configuration === second)
          throw new OpFailure({ code: 'ENOMEM', message: 'no memory' })
        if (options.lacks?.includes(configuration)) throw new ConfigError('Backend', 'needs what this host lacks')
        const said = Array.from(
          network.families.keys(),
          (family) => [family, made?.data.get(family) ?? calls.length] as const,
        )
        return { identity: calls.length, path: { backend: 'vxlan', data: new Map(said) } }
      },
    },
  })
  const claim = async (footprint: OwnershipScope) => {
    calls.push('claim')
    options.claim?.(footprint)
  }
  const refusals = new Map<string, string>()
  const ways = new Ways({
    clock,
    conditions,
    claim,
    refusals,
    context: async ({ network }) => ({ network }) as never,
    standing: () => ({ devices: new Map(), others: new Set() }),
  })
  const end = new AbortController()
  let fault: unknown
  const running = ways.run(end.signal).catch((cause) => {
    fault = cause
  })
  const known = new Map([first, direct, second].map((configuration) => [configuration, counting(configuration)]))
  let enough: readonly Family[] = []
  let instead: Configuration | undefined
  let host = {}
  const wantIn = async (families: readonly Family[], ...wanted: readonly Configuration[]) => {
    ways.want({
      ways: wanted.map((configuration) => known.get(configuration) ?? configuration),
      instead,
      families,
      enough,
      host,
    })
    await settleTasks()
  }
  /** As after a restart of a node with a lease of these families. */
  const had = (families: readonly Family[]) => {
    enough = families
  }
  const replacing = (configuration: Configuration) => {
    instead = known.get(configuration)
  }
  const otherAddresses = () => {
    host = {}
  }
  const want = async (...wanted: readonly Configuration[]) => await wantIn([4], ...wanted)
  const stop = async () => {
    end.abort()
    await running
    return fault
  }
  return {
    ways,
    want,
    wantIn,
    had,
    replacing,
    otherAddresses,
    counted: counting,
    stop,
    calls,
    refusals,
    conditions,
    clock,
    now: () => ways.changes.current ?? [],
  }
}

describe('the ways of a node', () => {
  it('keep what peers know them by, whatever else of the configuration changes', async () => {
    const world = start()
    await world.want(first)
    const [before] = world.now()
    await world.want(direct)
    const [after] = world.now()
    assert.deepEqual([after?.identity, after?.path], [before?.identity, { ...before?.path, direct: true }])
    assert.deepEqual([before?.config, after?.config], [first.config, direct.config])
    await world.want(second)
    assert.notEqual(world.now()[0]?.identity, before?.identity)
    await world.want(first)
    assert.equal(world.now()[0]?.identity, before?.identity)
    assert.equal(world.calls.filter((call) => call.startsWith('prepare')).length, 2)
    assert.equal(await world.stop(), undefined)
  })

  // flannel-io/flannel#919: two instances fought over a device that the first one had had, and given up.
  it('are claimed again when they come back: what was given up may be another instance’s by now', async () => {
    let isTaken = false
    const claim = ({ devices }: OwnershipScope) => {
      if (isTaken && devices.has('flannel.7')) throw new ConfigError('Backend', 'would share the device')
    }
    const world = start({ claim })
    await world.want(first, second)
    await world.want(first)
    isTaken = true
    await world.want(first, second)
    assert.deepEqual(
      [world.now().map(({ config }) => config), [...world.refusals]],
      [[first.config], [[wayKey(second), 'Backend: would share the device']]],
    )
    isTaken = false
    await world.want(first)
    await world.want(second, first)
    assert.deepEqual([world.now().length, world.refusals.size], [2, 0])
    assert.equal(world.calls.filter((call) => call.startsWith('prepare')).length, 2)
    assert.equal(await world.stop(), undefined)
  })

  const dual = parseConfiguration(
    JSON.stringify({
      Network: '10.5.0.0/16',
      EnableIPv6: true,
      IPv6Network: 'fc00::/48',
      Backend: { Type: 'vxlan' },
    }),
    'test',
  )

  it('get another family and keep what they are known by in the others, when it goes and comes, too', async () => {
    const world = start()
    await world.want(first)
    const [before] = world.now()
    const alone = before?.path.data.get(4)
    const counted = { ...dual, backend: world.counted(dual).backend }
    await world.wantIn([4, 6], counted)
    const [both] = world.now()
    assert.deepEqual([both?.families, both?.path.data.get(4)], [[4, 6], alone])
    const second = both?.path.data.get(6)
    assert.notEqual(second, undefined)
    await world.want(first)
    assert.deepEqual([world.now()[0]?.families, [...(world.now()[0]?.path.data ?? [])]], [[4], [[4, alone]]])
    await world.wantIn([4, 6], counted)
    assert.deepEqual(
      [...(world.now()[0]?.path.data ?? [])],
      [
        [4, alone],
        [6, second],
      ],
    )
    assert.equal(await world.stop(), undefined)
  })

  it('go on in the families that they have where another one is refused; that is named', async () => {
    let lacks = true
    const world = start({ lacksIpv6: () => lacks })
    await world.want(first)
    const alone = world.now()[0]?.path.data.get(4)
    const counted = { ...dual, backend: world.counted(dual).backend }
    await world.wantIn([4, 6], counted)
    assert.deepEqual([world.now()[0]?.families, world.now()[0]?.path.data.get(4)], [[4], alone])
    assert.deepEqual(
      world.conditions.list().map(({ code }) => code),
      ['family-not-had'],
    )
    assert.deepEqual([...world.refusals], [])
    lacks = false
    await world.want(first)
    await world.wantIn([4, 6], counted)
    assert.deepEqual(world.now()[0]?.families, [4, 6])
    assert.deepEqual(world.conditions.list(), [])
    assert.equal(await world.stop(), undefined)
  })

  const lackingCodes = ['family-not-had']
  const codes = (world: ReturnType<typeof start>) => world.conditions.list().map(({ code }) => code)

  for (const event of ['half a minute', 'another address of the host'] as const)
    it(`begin after a restart in the families that the lease has, and get the other one after ${event}`, async () => {
      let lacks = true
      const world = start({ lacksIpv6: () => lacks })
      world.had([4])
      const counted = { ...dual, backend: world.counted(dual).backend }
      await world.wantIn([4, 6], counted)
      assert.deepEqual([world.now()[0]?.families, codes(world), [...world.refusals]], [[4], lackingCodes, []])
      const alone = world.now()[0]?.path.data.get(4)
      const again = async () => {
        if (event === 'half a minute') await world.clock.advance(30_000)
        else world.otherAddresses()
        await world.wantIn([4, 6], counted)
      }
      await again()
      assert.deepEqual([world.now()[0]?.families, codes(world)], [[4], lackingCodes])
      lacks = false
      await again()
      assert.deepEqual([world.now()[0]?.families, world.now()[0]?.path.data.get(4)], [[4, 6], alone])
      assert.deepEqual(codes(world), [])
      const { length } = world.calls
      await world.clock.advance(60_000)
      world.otherAddresses()
      await world.wantIn([4, 6], counted)
      assert.equal(world.calls.length, length)
      assert.equal(await world.stop(), undefined)
    })

  it('begin so, too, where another instance stands in the way of the other family', async () => {
    let taken = true
    const world = start({
      claim: ({ networks }) => {
        if (taken && networks.some(({ network }) => network.includes(':')))
          throw new ConfigError('IPv6Network', 'overlaps that of another instance')
      },
    })
    world.had([4])
    const counted = { ...dual, backend: world.counted(dual).backend }
    await world.wantIn([4, 6], counted)
    assert.deepEqual([world.now()[0]?.families, codes(world)], [[4], lackingCodes])
    taken = false
    await world.clock.advance(30_000)
    assert.deepEqual([world.now()[0]?.families, codes(world)], [[4, 6], []])
    assert.equal(await world.stop(), undefined)
  })

  it('do not begin with half of the families where the node never had one', async () => {
    const world = start({ lacksIpv6: () => true })
    await world.wantIn([4, 6], { ...dual, backend: world.counted(dual).backend })
    assert.match(String(await world.stop()), /must be an own address/)
  })

  it('are in the order in which they are wanted, and the same objects while nothing changes', async () => {
    const world = start()
    await world.want(first)
    const [one] = world.now()
    await world.want(first, second)
    assert.equal(world.now()[0], one)
    assert.equal(world.now().length, 2)
    const both = world.now()
    await world.want(first, second)
    assert.equal(world.now(), both)
    await world.want(second, first)
    assert.deepEqual(world.now(), [both[1], both[0]])
    await world.stop()
  })

  it('stay where the only one that is wanted cannot be had, and say so; it is tried again', async () => {
    const lacks = [second]
    const world = start({ lacks })
    await world.want(first)
    await world.want(second)
    assert.deepEqual(
      world.now().map(({ config }) => config),
      [first.config],
    )
    assert.match(world.conditions.list()[0]?.text ?? '', /goes on with the vxlan that it has: Backend: needs what this/)
    lacks.pop()
    await world.clock.advance(30_000)
    assert.deepEqual(
      world.now().map(({ config }) => config),
      [second.config],
    )
    assert.deepEqual(world.conditions.list(), [])
    await world.stop()
  })

  it('are what is there instead where a start cannot have the only one that is wanted, or that is what it ends with', async () => {
    const lacks = [second]
    const world = start({ lacks })
    world.replacing(first)
    await world.want(second)
    const now = () => world.now().map(({ config }) => config)
    assert.deepEqual(now(), [first.config])
    assert.match(world.conditions.list()[0]?.text ?? '', /goes on with the vxlan that it has: Backend: needs what this/)
    lacks.pop()
    await world.clock.advance(30_000)
    assert.deepEqual([now(), world.conditions.list()], [[second.config], []])
    await world.stop()
    const other = start({ lacks: [first, second] })
    other.replacing(first)
    await other.want(second)
    assert.match(String(await other.stop()), /needs what this host lacks/)
  })

  it('do not wait for one that the host refuses; it is tried again', async () => {
    let refuse = true
    const world = start({ refuse: () => refuse })
    await world.want(first, second)
    assert.deepEqual(
      world.now().map(({ config }) => config),
      [first.config],
    )
    assert.deepEqual(
      world.conditions.list().map(({ code }) => code),
      ['refused-by-host backend'],
    )
    refuse = false
    await world.clock.advance(1_000)
    assert.equal(world.now().length, 2)
    assert.deepEqual(world.conditions.list(), [])
    await world.stop()
  })

  const lacking: readonly [string, readonly Configuration[], readonly Configuration[], readonly Configuration[]][] = [
    ['the first is lacking', [first, second], [first], [second]],
    ['the last is lacking', [first, second], [second], [first]],
    ['one is lacking and it is the only one', [first], [first], []],
    ['all are lacking', [first, second], [first, second], []],
  ]
  for (const [title, wanted, lacks, had] of lacking) {
    it(`are had where the host can have one at least, at the start, too: ${title}`, async () => {
      const world = start({ lacks })
      await world.want(...wanted)
      assert.deepEqual(
        world.now().map(({ config }) => config),
        had.map(({ config }) => config),
      )
      assert.deepEqual([...world.refusals.keys()], lacks.map(wayKey))
      const fault = await world.stop()
      if (had.length === 0) assert.match(String(fault), /needs what this host lacks/)
      else assert.equal(fault, undefined)
    })
  }

  for (const runs of [true, false]) {
    it(`do without the one that another instance stands in the way of, ${runs ? 'and go on' : 'from the start on'}`, async () => {
      let taken = true
      const world = start({
        claim: ({ devices }) => {
          if (taken && devices.has('flannel.7')) throw new ConfigError('Backend', 'would share the device')
        },
      })
      const had = () => world.now().map(({ config }) => config)
      if (runs) await world.want(first)
      await world.want(second, first)
      assert.deepEqual(had(), [first.config])
      assert.deepEqual([...world.refusals], [[wayKey(second), 'Backend: would share the device']])
      // As the change does, which is told of it, and then tries again.
      await world.want(first)
      taken = false
      await world.want(second, first)
      assert.deepEqual(had(), [second.config, first.config])
      assert.deepEqual([...world.refusals], [])
      assert.equal(await world.stop(), undefined)
    })
  }

  it('are claimed before anything is prepared', async () => {
    const taken = new ConfigError('Backend', 'is in use by another instance')
    const world = start({
      claim: () => {
        throw taken
      },
    })
    await world.want(first)
    assert.deepEqual([world.calls, world.now()], [['claim'], []])
    assert.equal(await world.stop(), taken)
  })
})
