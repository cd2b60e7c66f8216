import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { logsInFailure, oneSegment, ready, startDaemon, status, until } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { allKnow, loadFou, patience, patiently, tunnelLab, udp } from './tunnel-world.ts'

describe('the FOU port of udp', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(4 * patience)
  let lab: Lab
  let [one, two]: Host[] = []

  before(async () => {
    loadFou()
    lab = await tunnelLab(udp, oneSegment(2))
    ;[one, two] = lab.hosts
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => await lab?.close())

  function hosts(): readonly [Host, Host] {
    assert(one && two)
    return [one, two]
  }

  const reaches = async (from: Host, to: Host) =>
    await patiently('packets pass', async () => {
      const { received } = await from.container('c1').ping(to.container('c1').address, { count: 1, wait: 2_000 })
      assert.equal(received, 1)
    })

  it('that another program has is named, not taken; when it is free the node becomes ready', async () => {
    const [host] = hosts()
    await host.exec(['ip', 'fou', 'add', 'port', '8285', 'ipproto', '47'])
    try {
      const daemon = await startDaemon(host)
      await patiently('the condition', async () => {
        const { conditions, notReady } = await status(host)
        const text = conditions.map((one: { code: string; text: string }) => `${one.code}: ${one.text}`).join('\n')
        assert.match(text, /required-(foreign|refused).*8285/)
        assert.notDeepEqual(notReady, [])
      })
      assert.equal(daemon.exit, undefined)
      assert.match((await host.exec(['ip', 'fou', 'show'])).stdout, /port 8285 ipproto 47/)
    } finally {
      await host.exec(['ip', 'fou', 'del', 'port', '8285'])
    }
    await ready(host, patience)
    assert.match((await host.exec(['ip', 'fou', 'show'])).stdout, /port 8285 ipproto 4\b/)
  })

  it('that is closed by hand is open again, long before the next sweep', async function () {
    const [host, other] = hosts()
    await startDaemon(other)
    for (const each of hosts()) await each.subnetEnv({ timeout: patience })
    for (const each of hosts()) await each.addContainer('c1')
    await allKnow(hosts(), 1)
    await reaches(other, host)
    const took: number[] = []
    for (let round = 0; round < 3; round += 1) {
      await host.exec(['ip', 'fou', 'del', 'port', '8285'])
      took.push(
        await until(10_000, 'the port', async () => {
          assert.match((await host.exec(['ip', 'fou', 'show'])).stdout, /port 8285 ipproto 4\b/)
        }),
      )
      await reaches(other, host)
    }
    if (this.test !== undefined) this.test.title += ` (${took.join(', ')} ms, emulated)`
  })

  it('leaves the life of packets to the forwarding of the two hosts', async () => {
    const [host, other] = hosts()
    const { stdout } = await host.container('c1').exec(['ping', '-nc1', '-W5', other.container('c1').address])
    // flannel's proxy and our own take one more at each end: 60.
    assert.match(stdout, /ttl=62/)
  })
})
