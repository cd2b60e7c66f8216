import assert from 'node:assert/strict'
import { randomBytes, randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import type { ProbeRound } from '../../../flanneld/switch/probe-port.ts'
import { UdpProbes } from '../../../flanneld/switch/udp-probes.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { systemClock } from '../../../lib/clock.ts'
import { until } from '../../until.ts'

/** The ports are always the same: another run at the same time has other addresses. */
const loopback = () => [127, randomInt(1, 255), randomInt(256), randomInt(1, 255)].join('.') as IpAddr
/** Longer than the patience of a round. */
const BUSY_MS = 800

describe('probes over UDP', () => {
  const never = new AbortController().signal
  const [from, to, nobody] = [loopback(), loopback(), loopback()]
  let probes: UdpProbes

  beforeEach(async () => {
    probes = new UdpProbes({ clock: systemClock, randomBytes })
    await probes.open([from, to], [])
  })
  afterEach(async () => await probes.open([], []))

  const round = (more: Partial<ProbeRound> = {}): ProbeRound => ({ from, to, by: 'tried', bytes: 1450, ...more })

  for (const by of ['tried', 'used'] as const)
    it(`small ones and large ones are answered from where they went: ${by}`, async () => {
      assert.equal(await probes.send(round({ by }), never), undefined)
    })

  it('tried ones are answered by the way in use and by that on which they came, either of which may be dead', async () => {
    const asker = createSocket('udp4')
    const answers = async (port: number) => {
      const ports: number[] = []
      asker.on('message', (_message, { port: source }) => ports.push(source))
      await new Promise<void>((resolve) => asker.bind(port, nobody, resolve))
      asker.send(Buffer.concat([Buffer.from('flannel?'), randomBytes(16)]), 8473, to)
      await until(2_000, 'an answer came', async () => assert.ok(ports.includes(8473)))
      return ports
    }
    try {
      const ports = await answers(8474)
      await until(2_000, 'the other one, too', async () => assert.deepEqual(ports.toSorted(), [8473, 8474]))
    } finally {
      asker.close()
    }
  })

  // flannel-io/flannel#423, cilium/cilium#16874: such ports are in use. A tunnel has its port at every address of the host.
  for (const [taken, rest] of [
    [[8473], 8483],
    [[8475, 8489], 8493],
    [[8483], 8473],
  ] as const)
    it(`leave the ports ${taken.join(' and ')} to tunnels, and are answered`, async () => {
      await probes.open([from, to], taken)
      const tunnels = taken.map((port) => ({ port, socket: createSocket('udp4') }))
      try {
        for (const { port, socket } of tunnels) await new Promise<void>((resolve) => socket.bind(port, nobody, resolve))
        for (const by of ['tried', 'used'] as const) assert.equal(await probes.send(round({ by }), never), undefined)
        for (const { port } of tunnels) {
          const socket = createSocket('udp4')
          await new Promise<void>((resolve, reject) => socket.once('error', reject).bind(port, to, resolve))
          socket.close()
        }
        const answerer = createSocket('udp4')
        const isTaken = new Promise((resolve) => answerer.once('error', resolve))
        answerer.bind(rest, to)
        assert.match(String(await isTaken), /EADDRINUSE/)
        answerer.close()
      } finally {
        for (const { socket } of tunnels) socket.close()
      }
    })

  it('says what is not answered', async () => {
    assert.equal(await probes.send(round({ to: nobody }), never), 'no probe is answered')
    // More than one datagram can be.
    const words = await probes.send(round({ bytes: 70_000 }), never)
    assert.equal(words, 'small probes are answered, packets of 70000 bytes are not')
  })

  it('takes for answered what came in time to a process that had no time to read it', async () => {
    const asked = Array.from({ length: 10 }, () => probes.send(round(), never))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_MS)
    assert.deepEqual(
      (await Promise.all(asked)).filter((words) => words !== undefined),
      [],
    )
  })
})
