import assert from 'node:assert/strict'
import { LevelSet } from '../../../flanneld/node/levels.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import { SocketWatch } from '../../../flanneld/switch/socket-watch.ts'
import type { HostInterface } from '../../../kernel/host.ts'
import { OpFailure } from '../../../kernel/table.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { silentLogger } from '../../../lib/log.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import * as the from '../../kernel/fixtures.ts'

const OWN = '10.64.1.0' as IpAddr
const onLoopback = the.required(the.address(`${OWN}/32`, 'lo'))
const onTunnel = the.required(the.address(`${OWN}/32`))

describe('the sockets that have an address that stays', () => {
  const clock = new VirtualClock()
  let levels: LevelSet
  let conditions: ConditionSet
  let devices: readonly string[]
  let count: () => number
  let asked: number
  let watch: SocketWatch
  let end: AbortController
  let running: Promise<void>

  beforeEach(() => {
    levels = new LevelSet()
    conditions = new ConditionSet({ clock })
    devices = ['lo']
    count = () => 2
    asked = 0
    const interfaces = () =>
      devices.map((name) => ({ name, addresses: [{ address: OWN }] }) as unknown as HostInterface)
    watch = new SocketWatch({
      levels,
      conditions,
      clock,
      log: silentLogger,
      host: { listInterfaces: async () => interfaces() },
      sockets: {
        countAt: async () => {
          asked += 1
          return count()
        },
      },
    })
    end = new AbortController()
    running = watch.run(end.signal)
  })
  afterEach(async () => {
    end.abort()
    await clock.advance(1)
    await running
  })

  const unused = () => [...(levels.current.unusedAddresses ?? [])]

  it('are not looked for where none stays', async () => {
    watch.planned([onTunnel])
    await clock.advance(60_000)
    assert.equal(asked, 0)
  })

  it('are not looked for while the old device has it', async () => {
    devices = ['lo', 'flannel.1']
    watch.planned([onTunnel, onLoopback])
    await clock.advance(60_000)
    assert.deepEqual([asked, unused(), conditions.list()], [0, [], []])
  })

  it('are told of, and the address is not needed any more after the last of them', async () => {
    watch.planned([onLoopback])
    await clock.advance(1)
    assert.match(conditions.list()[0]?.text ?? '', /stays on lo .*: 10\.64\.1\.0 \(2 sockets\)$/)
    count = () => 1
    await clock.advance(5_000)
    assert.match(conditions.list()[0]?.text ?? '', /: 10\.64\.1\.0 \(1 socket\)$/)
    assert.deepEqual(unused(), [])
    count = () => 0
    await clock.advance(5_000)
    assert.deepEqual([unused(), conditions.list()], [[OWN], []])
    watch.planned([])
    await clock.advance(60_000)
    assert.deepEqual([unused(), asked], [[OWN], 3])
  })

  it('count again when a device has had it since', async () => {
    count = () => 0
    watch.planned([onLoopback])
    await clock.advance(1)
    watch.planned([])
    assert.deepEqual(unused(), [OWN])
    watch.planned([onTunnel])
    assert.deepEqual(unused(), [])
  })

  it('are asked for again where the kernel could not say it now', async () => {
    count = () => {
      if (asked === 1) throw new OpFailure({ code: 'ENOBUFS', message: 'no memory' })
      return 1
    }
    watch.planned([onLoopback])
    await clock.advance(1)
    assert.deepEqual([asked, unused()], [1, []])
    await clock.advance(5_000)
    assert.deepEqual([asked, unused()], [2, []])
  })

  it('hold nothing where the kernel does not list them', async () => {
    count = () => {
      throw new OpFailure({ code: 'ENOENT', message: 'no inet_diag' })
    }
    watch.planned([onLoopback])
    await clock.advance(1)
    assert.deepEqual(unused(), [OWN])
  })
})
