import assert from 'node:assert/strict'
import type { Container } from '../../lab/container.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { Streams } from './streams.ts'
import { bringUp, knowsPeers, logsInFailure, oneSegment, status, until } from './world.ts'

const config = (Type: string) => ({ Network: '10.5.0.0/16', Backend: { Type } })
/** Of the segment, as host-gw leaves it to containers; vxlan needs 50 bytes. */
const [WHOLE, IN_TUNNEL] = [1500, 1450]
const HEADERS = 28
const FULL_PIECE = 64_000

describe('a change to a backend with a smaller MTU', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let h1: Host
  let h2: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: config('host-gw') })
    await bringUp(lab.hosts, { args: ['--ingress-guard=on'] })
    h1 = lab.host('h1')
    h2 = lab.host('h2')
    for (const host of lab.hosts) await knowsPeers(host, 1)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const changed = async (type: string, device: string) => {
    await lab.configure(config(type))
    await until(30_000, `all is ${type}`, async () => {
      for (const [host, other] of [
        [h1, h2],
        [h2, h1],
      ] as const) {
        assert.equal((await status(host)).backendChange, null)
        const [route] = await host.ipJson('route', 'get', other.container('c1').address)
        assert.equal(route?.['dev'], device)
      }
    })
  }
  /** What ping says to one packet of so many bytes that nobody may fragment. */
  const whole = async (from: Container, to: Container, bytes: number) => {
    const words = ['ping', '-n', '-c', '1', '-W', '2', '-M', 'do', '-s', String(bytes - HEADERS), to.address]
    const { stdout, stderr } = await from.exec(words, { anyCode: true })
    return stdout + stderr
  }

  it('is noticed by no TCP connection that was open with the larger one, and tells others how much fits', async () => {
    const [one, two] = [h1.container('c1'), h2.container('c1')]
    assert.match(await whole(one, two, WHOLE), /1 received/)
    const streams = await Promise.all([
      Streams.start(lab, one, two, FULL_PIECE),
      Streams.start(lab, two, one, FULL_PIECE),
    ])
    await changed('vxlan', 'flannel.1')
    for (const stream of streams) {
      const { tcp, udp } = await stream.stop()
      assert.deepEqual([tcp.broken, tcp.wrong, tcp.received], [null, 0, tcp.sent], JSON.stringify(tcp))
      assert.ok(tcp.sent > 50 * FULL_PIECE, `only ${tcp.sent} bytes`)
      // Of a size that fits both ways none is lost.
      assert.deepEqual([udp.lost, udp.doubled], [0, 0], JSON.stringify(udp))
    }
    assert.match(await whole(one, two, WHOLE), /frag needed|message too long.* mtu=1450/i)
    assert.match(await whole(one, two, IN_TUNNEL), /1 received/)
  })

  it('gives containers that are made then the MTU that fits, and back the larger one', async () => {
    const mtuOf = async (host: Host, label: string) => {
      const [link] = await (await host.addContainer(label)).ipJson('link', 'show', 'eth0')
      return [(await host.subnetEnv()).mtu, link?.['mtu']]
    }
    assert.deepEqual(await mtuOf(h1, 'later'), [IN_TUNNEL, IN_TUNNEL])
    await changed('host-gw', 'eth0')
    await until(5_000, 'subnet.env has it', async () => assert.equal((await h1.subnetEnv()).mtu, WHOLE))
    assert.deepEqual(await mtuOf(h1, 'last'), [WHOLE, WHOLE])
  })
})
