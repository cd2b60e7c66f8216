import assert from 'node:assert/strict'
import { Docker, type DockerContainer } from '../../lab/docker.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { answer, healedAfter, iptablesRules, outside, rulePlaces, seenAs } from '../e2e/rules.ts'
import {
  flanneld,
  knowsPeers,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  status,
  until,
  vxlan,
} from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { dockerOptions, startDocker } from './docker-world.ts'

const masq = { args: ['--ip-masq'] }

for (const tool of ['iptables', 'nftables'] as const) {
  describe(`dockerd and our rules in ${tool}`, function () {
    needs(this, 'netns', 'etcd', 'docker')
    this.timeout(300_000)
    let lab: Lab
    const dockers: Docker[] = []
    const containers: DockerContainer[] = []

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(2), netConf: { ...vxlan, EnableNFTables: tool === 'nftables' } })
      await Promise.all(lab.hosts.map((host) => startDaemon(host, masq)))
      for (const host of lab.hosts) {
        await ready(host)
        // Started anew below, after dockerd: also what Docker has set up before is opened.
        await host.daemon?.stop()
        dockers.push(await startDocker(host))
      }
      for (const docker of dockers) containers.push(await docker.run('c1'))
      await Promise.all(lab.hosts.map((host) => startDaemon(host, masq)))
      for (const host of lab.hosts) await knowsPeers(host, 1)
      await Promise.all([...containers, lab.controlPlane].map((place) => answer(place)))
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(async () => {
      for (const docker of dockers) await docker.stop()
      await lab?.close()
    })

    const hosts = () => lab.hosts as readonly [Host, Host]
    const both = () => containers as unknown as readonly [DockerContainer, DockerContainer]
    const clearPath = async (host: Host): Promise<readonly string[]> =>
      (await status(host)).conditions
        .map(({ text }: { text: string }) => text)
        .filter((text: string) => text.includes('clear-path'))

    it('is what Docker makes of a fresh host: FORWARD drops, DOCKER-USER is there', async () => {
      const { stdout } = await hosts()[0].exec(['iptables-nft-save', '-t', 'filter'])
      assert.match(stdout, /:FORWARD DROP/)
      assert.match(stdout, /-A FORWARD -j DOCKER-USER/)
    })

    it('containers of two hosts reach each other, as themselves', async () => {
      const [one, two] = both()
      assert.equal(await seenAs(one, two.address), one.address)
      assert.equal(await seenAs(two, one.address), two.address)
    })

    it('the outside world sees the host', async () => {
      assert.equal(await seenAs(both()[0], outside), hosts()[0].address)
    })

    it('packets of the size that --mtu says pass unbroken, larger ones do not', async () => {
      const [one, two] = both()
      const { mtu } = await hosts()[0].subnetEnv()
      assert.equal((await one.ping(two.address, { size: mtu - 28, df: true })).received, 3)
      assert.equal((await one.ping(two.address, { size: mtu - 27, df: true })).received, 0)
    })

    it('nothing is reported to be in the way', async () => {
      for (const host of hosts()) assert.deepEqual(await clearPath(host), [])
    })

    it('the opening in DOCKER-USER is healed within a second', async () => {
      const [host] = hosts()
      const look = async () => await iptablesRules(host)
      await healedAfter(host, 'iptables-nft -F DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN', look)
      const [one, two] = both()
      assert.equal(await seenAs(two, one.address), two.address)
    })

    it('a dockerd that starts again is opened again', async () => {
      const [host] = hosts()
      await dockers[0]?.stop()
      await host.exec(['sh', '-c', 'iptables-nft -F DOCKER-USER; iptables-nft -F FORWARD'])
      dockers[0] = await startDocker(host)
      containers[0] = await dockers[0].run('c2')
      await answer(containers[0])
      await until(2_000, 'opened', async () => {
        const rules = await iptablesRules(host)
        assert.equal(rules.filter((line) => /-A DOCKER-USER .*-j FLANNEL-FWD/.test(line)).length, 1, rules.join('\n'))
      })
      const [one, two] = both()
      assert.equal(await seenAs(one, two.address), one.address)
      assert.equal(await seenAs(two, one.address), two.address)
      assert.equal(await seenAs(one, outside), host.address)
    })

    it('Docker’s own masquerade, left on by mistake, is named', async () => {
      const [host] = hosts()
      await dockers[0]?.stop()
      dockers[0] = await Docker.start(host, [...(await dockerOptions(host)), '--ip-masq=true'])
      await until(3_000, 'named', async () => {
        assert.match(
          (await clearPath(host)).join('\n'),
          /-t nat POSTROUTING decides about overlay traffic before flannel's/,
        )
      })
    })

    it('clean-up leaves Docker’s chains, and nothing of ours in them', async () => {
      const [host] = hosts()
      await host.daemon?.stop()
      assert.equal((await flanneld(host, ['cleanup'])).code, 0)
      assert.deepEqual(await rulePlaces(host), [])
      assert.deepEqual(await iptablesRules(host), [])
      assert.match((await host.exec(['iptables-nft-save'])).stdout, /-A FORWARD -j DOCKER-USER/)
    })
  })
}
