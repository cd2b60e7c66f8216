import assert from 'node:assert/strict'
import type { Docker } from '../../lab/docker.ts'
import { Lab } from '../../lab/lab.ts'
import { Streams } from '../e2e/streams.ts'
import { transfer } from '../e2e/transfer.ts'
import { oneSegment, ready, startDaemon, until } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { conditionsOf, dockerOptions, startDocker } from './docker-world.ts'
import { type DockerPair, masq, network, realDocker } from './real-docker.ts'

realDocker({ type: 'vxlan', carriesOn: true }, (pair, allIsWell) => {
  const named = (pattern: RegExp) =>
    until(40_000, `named as ${pattern}`, async () =>
      assert.match((await conditionsOf(pair.one, 'docker-')).join('\n'), pattern),
    )

  it('loses nothing, and breaks no connection, while the backend changes to host-gw and back', async () => {
    const { lab, from, to, one } = pair
    const ping = from.startPing(to.address)
    await ping.answered(AbortSignal.timeout(10_000))
    const streams = [await Streams.start(lab, from, to), await Streams.start(lab, to, from)]
    await changedTo(pair, 'host-gw', 'eth0')
    await allIsWell()
    await mtuIs(pair, 1500)
    // Docker's own is smaller: nothing to say.
    assert.deepEqual(await conditionsOf(one, 'docker-'), [])
    await changedTo(pair, 'vxlan', 'flannel.1')
    await allIsWell()
    await mtuIs(pair, 1450)
    assert.deepEqual(await conditionsOf(one, 'docker-'), [])
    assert.equal((await ping.stop()).lost, 0)
    for (const each of streams) {
      const { tcp, udp } = await each.stop()
      assert.deepEqual([tcp.broken, tcp.wrong, tcp.received, udp.lost], [null, 0, tcp.sent, 0])
    }
  })

  it('that was started while it was host-gw has a larger MTU than vxlan carries: named, until Docker has the new one', async () => {
    const { here, one } = pair
    await changedTo(pair, 'host-gw', 'eth0')
    await mtuIs(pair, 1500)
    await here.restart(await dockerOptions(one))
    const large = await here.run('c3')
    await changedTo(pair, 'vxlan', 'flannel.1')
    await named(/^docker-mtu: Docker's mtu is 1500, and the overlay carries 1450 bytes/)
    // A connection finds the smaller MTU by itself, as anywhere on the way.
    assert.equal(await transfer(large, pair.to, 2), 2 * 2 ** 20)
    await here.restart(await dockerOptions(one))
    await named(/^$/)
  })

  it('names the larger MTU of Docker after a change of the overlay’s, until Docker has the new one', async () => {
    const { lab, here, one } = pair
    await lab.configure({ Network: network, Backend: { Type: 'vxlan', MTU: 1350 } })
    await one.daemon?.stop()
    await startDaemon(one, masq)
    await ready(one)
    await named(/^docker-mtu: Docker's mtu is 1450, and the overlay carries 1300 bytes/)
    await here.restart(await dockerOptions(one))
    await named(/^$/)
  })
})
realDocker({ type: 'host-gw', carriesOn: true })
// Without fou the daemon itself carries udp's packets: they stop while it does.
realDocker({ type: 'udp', carriesOn: false })

async function changedTo({ lab }: DockerPair, type: string, device: string): Promise<void> {
  await lab.configure({ Network: network, Backend: { Type: type } })
  await until(60_000, `both use ${type}`, async () => {
    for (const host of lab.hosts)
      assert.match(await host.ip('route'), new RegExp(`^10\\.5\\.\\d+\\.0/24 .*dev ${device} .*proto 102`, 'm'))
  })
}

/** In subnet.env: the new backend's as soon as the old one has ended. */
async function mtuIs({ lab }: DockerPair, mtu: number): Promise<void> {
  await until(60_000, `an MTU of ${mtu}`, async () => {
    for (const host of lab.hosts) assert.equal((await host.subnetEnv()).mtu, mtu)
  })
}

describe('a Docker that keeps its old subnet', function () {
  needs(this, 'netns', 'etcd', 'docker')
  this.timeout(120_000)
  let lab: Lab | undefined
  let docker: Docker | undefined
  after(async () => {
    await docker?.stop()
    await lab?.close()
  })

  it('by live-restore is named until its containers are stopped, and its bridge is left alone', async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: { Network: network, Backend: { Type: 'vxlan' } } })
    const [host] = lab.hosts
    assert.ok(host)
    await startDaemon(host, masq)
    await ready(host)
    const options = await dockerOptions(host)
    const old = options.map((word) => (word.startsWith('--bip=') ? '--bip=10.6.7.1/24' : word))
    docker = await startDocker(host, ['--live-restore'])
    await docker.restart([...old, '--live-restore'])
    const link = async () => (await host.ipJson('link', 'show', 'docker0'))[0].ifindex
    const before = await link()
    await docker.run('c1')
    const named = (pattern: RegExp) =>
      until(40_000, `named as ${pattern}`, async () =>
        assert.match((await conditionsOf(host, 'docker-')).join('\n'), pattern),
      )
    await named(/^docker-subnet: Docker's bip is 10\.6\.7\.1\/24, and the leased subnet is 10\.5\./)
    await docker.restart([...options, '--live-restore'])
    await named(
      /^docker-subnet: Docker was given the leased subnet .* has 10\.6\.7\.0\/24: with live-restore it keeps .* -> stop the containers/,
    )
    await docker.stopContainer('c1')
    await docker.restart([...options, '--live-restore'])
    await named(/^$/)
    assert.equal(await link(), before)
  })
})
