import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { systemClock } from '../../lib/clock.ts'
import { repeat } from '../long.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  flanneld,
  knowsPeers,
  leasePrefix,
  logsInFailure,
  networkOf,
  oneSegment,
  startDaemon,
  strangerLease,
  vxlanFrom100,
} from './world.ts'

const peers = 40

/** Fault row 2: wherever a daemon dies, the next one makes of it what a daemon makes of a fresh host. */
describe('a daemon killed at any point of its start', function () {
  needs(this, 'netns', 'etcd')
  const kills = repeat(40, 300)
  this.timeout(60_000 + kills * 10_000)
  let lab: Lab
  let host: Host
  let bare: readonly string[]

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlanFrom100 })
    host = lab.host('h1')
    await lab.etcd.putAll(Array.from({ length: peers }, (_unused, n) => strangerLease(n + 1)))
    // iptables-nft makes a table with its first rule, and it stays: as on every host where somebody has had one.
    await host.exec(['sh', '-c', 'iptables -w -A FORWARD -j ACCEPT && iptables -w -D FORWARD -j ACCEPT'])
    bare = await networkOf(host)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const stop = async (signal: NodeJS.Signals) => {
    host.daemon?.kill(signal)
    await host.daemon?.waitExit()
  }
  const cleanUp = async () => {
    const { code, stderr } = await flanneld(host, ['cleanup'])
    assert.equal(code, 0, stderr)
    assertSame(await networkOf(host), bare)
  }

  it(`leaves nothing that the next start or a clean-up would not put in order, ${kills} times`, async () => {
    await startDaemon(host)
    await knowsPeers(host, peers)
    const whole = await networkOf(host)
    // Once more, as most of those below begin: the kills spread over the time that a start takes here, and a little more.
    await stop('SIGTERM')
    const began = systemClock.now()
    await startDaemon(host)
    await knowsPeers(host, peers)
    const startMs = 1.2 * (systemClock.now() - began)
    const leases = (await lab.etcd.list(leasePrefix)).map(({ key }) => key)
    assert.equal(leases.length, peers + 1)
    await stop('SIGTERM')

    for (let kill = 0; kill < kills; kill += 1) {
      // Of three: a fresh host, one that has it all, one whose peers have changed since.
      const kind = (['fresh', 'complete', 'changed'] as const)[kill % 3]
      if (kind === 'fresh') await cleanUp()
      if (kind === 'changed') {
        await host.exec(['sh', '-c', 'ip link del flannel.1; ip route add 10.5.90.0/24 via 192.168.64.1 proto 102'])
      }
      const delay = 5 + Math.round((startMs * kill) / kills)
      await startDaemon(host)
      await systemClock.sleep(delay, AbortSignal.timeout(delay + 30_000))
      await stop('SIGKILL')

      const what = `killed after ${delay} ms on a host that was ${kind}`
      if (kill % 10 === 9) {
        await cleanUp()
      } else {
        await startDaemon(host)
        await knowsPeers(host, peers)
        try {
          assertSame(await networkOf(host), whole)
        } catch (cause) {
          throw new Error(`${what}: ${(cause as Error).message}`, { cause })
        }
        await stop('SIGTERM')
      }
      const now = (await lab.etcd.list(leasePrefix)).map(({ key }) => key)
      assert.deepEqual(now, leases, what)
    }
  })
})
