import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Docker, DockerContainer } from '../../lab/docker.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { answer, answerPort, askedAs, outside } from '../e2e/rules.ts'
import { transfer } from '../e2e/transfer.ts'
import { knowsPeers, logsInFailure, oneSegment, ready, startDaemon, until } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { conditionsOf, dockerOptions, startDocker } from './docker-world.ts'

export const network = '10.5.0.0/16'
const published = 8080
export const masq = { args: ['--ip-masq'] }

export interface DockerCase {
  readonly type: string
  /** Whether packets pass while no daemon runs. */
  readonly carriesOn: boolean
  /** How many times as long as on a real machine everything may take; 1 unless told. */
  readonly slow?: number
  /** Where dockerd keeps its files, a folder for each host; the lab's own unless told. */
  readonly dataIn?: string
  /** Milliseconds from ping to ping; 10 unless told. */
  readonly pingMs?: number
}

/** Two hosts with a dockerd each, which has a container each; `there` publishes its port. */
export interface DockerPair {
  lab: Lab
  one: Host
  two: Host
  here: Docker
  there: Docker
  from: DockerContainer
  to: DockerContainer
}

/** What is promised of Docker on any backend. `more` describes what is so on this one alone. */
export function realDocker(
  { type, carriesOn, slow = 1, dataIn, pingMs = 10 }: DockerCase,
  more: (pair: DockerPair, allIsWell: () => Promise<unknown>) => void = () => {},
): void {
  describe(`real Docker on ${type}`, function () {
    needs(this, 'netns', 'etcd', 'docker')
    this.timeout(300_000 * slow)
    const pair = {} as DockerPair

    before(async () => {
      const lab = await Lab.create({ segments: oneSegment(2), netConf: { Network: network, Backend: { Type: type } } })
      pair.lab = lab
      pair.one = lab.host('h1')
      pair.two = lab.host('h2')
      await Promise.all(lab.hosts.map((host) => startDaemon(host, masq)))
      for (const host of lab.hosts) await ready(host, 30_000 * slow)
      const data = (host: Host) => (dataIn === undefined ? undefined : join(dataIn, host.label))
      // One after the other: dockerd gives its containerd 15 s to start, which two at once on a busy machine do not keep.
      const start = async (host: Host) => {
        const docker = await startDocker(host, [], data(host))
        // Where dockerd takes long, the daemon has turned forwarding on again before it, and it leaves the policy alone.
        await host.exec(['iptables-nft', '-P', 'FORWARD', 'DROP'])
        return docker
      }
      pair.here = await start(pair.one)
      pair.there = await start(pair.two)
      ;[pair.from, pair.to] = await Promise.all([
        pair.here.run('c1'),
        pair.there.run('c1', '--restart=always', '--publish', `${published}:${answerPort}`),
      ])
      for (const host of lab.hosts) await knowsPeers(host, 1, 10_000 * slow)
      await Promise.all([pair.from, pair.to, lab.controlPlane].map((place) => answer(place, { ms: 20_000 * slow })))
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, pair.lab)
    })

    after(async () => {
      await Promise.all([pair.here?.stop(), pair.there?.stop()])
      await pair.lab?.close()
    })

    const asked = (who: Host | DockerContainer, address: string) =>
      askedAs(who, { address, port: answerPort, protocol: 'udp', ms: 2_000 * slow })
    /** As it must be after whatever happened; `to` and its answers are there. */
    const allIsWell = async () =>
      await until(20_000 * slow, 'all is well', async () => {
        assert.equal(await asked(pair.from, pair.to.address), pair.from.address)
        assert.equal(await asked(pair.to, pair.from.address), pair.to.address)
        assert.equal(await asked(pair.from, outside), pair.one.address)
      })
    const askPublished = (who: Host | DockerContainer) =>
      askedAs(who, { address: pair.two.address, port: published, protocol: 'tcp', ms: 10_000 * slow })
    const ping = async (from: DockerContainer, to: string) => {
      const judge = from.startPing(to, pingMs)
      await judge.answered(AbortSignal.timeout(10_000 * slow))
      return judge
    }

    it('carries full packets and TCP, as themselves between containers, masqueraded to the outside, with FORWARD at DROP', async () => {
      await allIsWell()
      const { from, to, one, two } = pair
      const { mtu } = await one.subnetEnv()
      assert.match((await two.exec(['iptables-nft-save', '-t', 'filter'])).stdout, /:FORWARD DROP/)
      assert.equal((await from.ping(to.address, { size: mtu - 28, df: true, wait: 1_000 * slow })).received, 3)
      for (const [source, target] of [
        [from, to],
        [to, from],
      ] as const)
        assert.equal(await transfer(source, target, 2), 2 * 2 ** 20)
    })

    it('publishes a port to other hosts and to containers of theirs', async () => {
      assert.equal(await askPublished(pair.one), pair.one.address)
      assert.equal(await askPublished(pair.from), pair.one.address)
    })

    it(`${carriesOn ? 'loses nothing' : 'is whole again'} when the daemon is restarted, and when it is killed`, async () => {
      const { from, to, two } = pair
      const judge = await ping(from, to.address)
      for (const end of ['stop', 'kill'] as const) {
        if (end === 'stop') await two.daemon?.stop()
        else two.daemon?.kill('SIGKILL')
        await two.daemon?.waitExit()
        await startDaemon(two, masq)
        await ready(two, 10_000 * slow)
        await knowsPeers(two, 1, 10_000 * slow)
      }
      const { lost } = await judge.stop()
      if (carriesOn) assert.equal(lost, 0)
      await allIsWell()
      assert.deepEqual(await conditionsOf(two, 'docker-'), [])
    })

    it('is whole after the restart of a container, and of Docker, which costs the other host nothing', async () => {
      const { from, one, two, here, there } = pair
      const other = await here.run('c2')
      const judge = await ping(other, from.address)
      pair.to = await there.restartContainer('c1')
      await answer(pair.to, { ms: 20_000 * slow })
      await allIsWell()
      await there.restart(await dockerOptions(two))
      await until(20_000 * slow, 'Docker has started it again', async () => {
        pair.to = await there.container('c1')
        assert.equal((await pair.to.exec(['true'], { anyCode: true })).code, 0)
      })
      await answer(pair.to, { ms: 20_000 * slow })
      await allIsWell()
      assert.equal((await judge.stop()).lost, 0)
      assert.equal(await askPublished(one), one.address)
    })

    more(pair, allIsWell)
  })
}
