import assert from 'node:assert/strict'
import { execPath } from 'node:process'
import type { Docker, DockerContainer } from '../../lab/docker.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { answer, answerPort, askedAs, outside } from '../e2e/rules.ts'
import { knowsPeers, logsInFailure, oneSegment, ready, startDaemon, until } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { conditionsOf, dockerOptions, startDocker } from './docker-world.ts'

const network = '10.5.0.0/16'
const published = 8080
const bytes = 2_000_000
const masq = { args: ['--ip-masq'] }

/** Without fou the daemon itself carries udp's packets: they stop while it does. */
const backends = [
  { type: 'vxlan', carriesOn: true },
  { type: 'host-gw', carriesOn: true },
  { type: 'udp', carriesOn: false },
] as const

const sender = `require('node:net').createServer((client) => {
  client.on('error', () => {}).end(Buffer.alloc(${bytes}))
}).listen(7002, '0.0.0.0')`
const receiver = (address: string) => `let count = 0
require('node:net').connect(7002, '${address}').on('data', (data) => { count += data.length })
  .on('end', () => { console.log(count); process.exit(0) }).on('error', () => process.exit(1))
setTimeout(() => process.exit(1), 20_000)`

for (const { type, carriesOn } of backends) {
  describe(`real Docker on ${type}`, function () {
    needs(this, 'netns', 'etcd', 'docker')
    this.timeout(300_000)
    let lab: Lab
    let one: Host
    let two: Host
    let here: Docker
    let there: Docker
    let from: DockerContainer
    let to: DockerContainer

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(2), netConf: { Network: network, Backend: { Type: type } } })
      one = lab.host('h1')
      two = lab.host('h2')
      await Promise.all(lab.hosts.map((host) => startDaemon(host, masq)))
      for (const host of lab.hosts) await ready(host, 30_000)
      here = await startDocker(one)
      there = await startDocker(two)
      from = await here.run('c1')
      to = await there.run('c1', '--restart=always', '--publish', `${published}:${answerPort}`)
      for (const host of lab.hosts) await knowsPeers(host, 1)
      await Promise.all([from, to, lab.controlPlane].map(answer))
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(async () => {
      await here?.stop()
      await there?.stop()
      await lab?.close()
    })

    /** As it must be after whatever happened; `to` and its answers are there. */
    const allIsWell = async () =>
      await until(20_000, 'all is well', async () => {
        assert.equal(
          await askedAs(from, { address: to.address, port: answerPort, protocol: 'udp', ms: 2_000 }),
          from.address,
        )
        assert.equal(
          await askedAs(to, { address: from.address, port: answerPort, protocol: 'udp', ms: 2_000 }),
          to.address,
        )
        assert.equal(
          await askedAs(from, { address: outside, port: answerPort, protocol: 'udp', ms: 2_000 }),
          one.address,
        )
      })
    const forward = async () => (await two.exec(['iptables-nft-save', '-t', 'filter'])).stdout

    it('carries full packets and TCP, as themselves between containers, masqueraded to the outside, with FORWARD at DROP', async () => {
      await allIsWell()
      const { mtu } = await one.subnetEnv()
      assert.match(await forward(), /:FORWARD DROP/)
      assert.equal((await from.ping(to.address, { size: mtu - 28, df: true })).received, 3)
      await to.start([execPath, '-e', sender], { log: '/dev/null' })
      await until(10_000, 'all bytes', async () =>
        assert.equal((await from.exec([execPath, '-e', receiver(to.address)])).stdout, `${bytes}\n`),
      )
    })

    it('publishes a port to other hosts and to containers of theirs', async () => {
      const ask = async (who: Host | DockerContainer) =>
        await askedAs(who, { address: two.address, port: published, protocol: 'tcp' })
      assert.equal(await ask(one), one.address)
      assert.equal(await ask(from), one.address)
    })

    it(`${carriesOn ? 'loses nothing' : 'is whole again'} when the daemon is restarted, and when it is killed`, async () => {
      const ping = from.startPing(to.address)
      await ping.answered(AbortSignal.timeout(10_000))
      for (const end of ['stop', 'kill'] as const) {
        if (end === 'stop') await two.daemon?.stop()
        else two.daemon?.kill('SIGKILL')
        await two.daemon?.waitExit()
        await startDaemon(two, masq)
        await ready(two)
        await knowsPeers(two, 1)
      }
      const { lost } = await ping.stop()
      if (carriesOn) assert.equal(lost, 0)
      await allIsWell()
      assert.deepEqual(await conditionsOf(two, 'docker-'), [])
    })

    it('is whole after the restart of a container, and of Docker, which costs the other host nothing', async () => {
      const other = await here.run('c2')
      const own = other.startPing(`${from.address}`)
      to = await there.restartContainer('c1')
      await answer(to)
      await allIsWell()
      await there.restart(await dockerOptions(two))
      await until(20_000, 'Docker has started it again', async () => {
        to = await there.container('c1')
        assert.equal((await to.exec(['true'], { anyCode: true })).code, 0)
      })
      await answer(to)
      await allIsWell()
      assert.equal((await own.stop()).lost, 0)
      assert.equal(await askedAs(one, { address: two.address, port: published, protocol: 'tcp' }), one.address)
    })

    if (type === 'vxlan')
      it('loses nothing while the backend changes to host-gw and back', async () => {
        const ping = from.startPing(to.address)
        await ping.answered(AbortSignal.timeout(10_000))
        for (const [backend, device] of [
          ['host-gw', 'eth0'],
          ['vxlan', 'flannel.1'],
        ] as const) {
          await lab.configure({ Network: network, Backend: { Type: backend } })
          await until(60_000, `both use ${backend}`, async () => {
            for (const host of lab.hosts)
              assert.match(await host.ip('route'), new RegExp(`^10\\.5\\.\\d+\\.0/24 .*dev ${device} .*proto 102`, 'm'))
          })
          await allIsWell()
          assert.deepEqual(await conditionsOf(one, 'docker-'), [])
        }
        assert.equal((await ping.stop()).lost, 0)
      })

    if (type === 'vxlan')
      it('names the larger MTU of Docker after a change of the overlay’s, until Docker has the new one', async () => {
        await lab.configure({ Network: network, Backend: { Type: type, MTU: 1350 } })
        await one.daemon?.stop()
        await startDaemon(one, masq)
        await ready(one)
        const named = (pattern: RegExp) =>
          until(40_000, `named as ${pattern}`, async () =>
            assert.match((await conditionsOf(one, 'docker-')).join('\n'), pattern),
          )
        await named(/^docker-mtu: Docker's mtu is 1450, and the overlay carries 1300 bytes/)
        await here.restart(await dockerOptions(one))
        await named(/^$/)
      })
  })
}

describe('a Docker that keeps its old subnet', function () {
  needs(this, 'netns', 'etcd', 'docker')
  this.timeout(120_000)
  let lab: Lab
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
