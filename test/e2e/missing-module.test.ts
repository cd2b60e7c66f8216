import assert from 'node:assert/strict'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { ChangingHosts } from './changing-hosts.ts'
import { bringUp, knowsPeers, logsInFailure, oneSegment, ready, startDaemon, status, until } from './world.ts'

/** Fault row 46. What is there cannot be taken away, so this shows on a kernel that lacks it, and under Debian's nothing. */
describe('a kernel without a module', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab | undefined

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  const cases = [
    { backend: { Type: 'ipip' }, module: 'ipip', probe: ['ip', 'link', 'add', 'try', 'type', 'ipip'] },
    { backend: { Type: 'udp', Engine: 'kernel' }, module: 'fou', probe: ['ip', 'fou', 'show'] },
  ]
  for (const { backend, module, probe } of cases) {
    it(`that ${backend.Type} needs ends the start with 78, naming ${module} and the remedy`, async function () {
      lab = await Lab.create({ segments: oneSegment(1), netConf: { Network: '10.5.0.0/16', Backend: backend } })
      const host = lab.host('h1')
      if ((await host.exec(probe, { anyCode: true })).code === 0) this.skip()
      const daemon = await startDaemon(host)
      await until(15_000, 'the daemon has ended', async () => assert.notEqual(daemon.exit, undefined))
      assert.deepEqual(daemon.exit, { code: 78, signal: null })
      assert.match(await daemon.logText(), new RegExp(`needs the kernel module ${module}.*modprobe ${module}`))
      await assert.rejects(host.exec(['cat', host.paths.subnetFile]), /No such file/)
    })
  }

  it('that the other engine of udp needs leaves the first one in use, named, and no packet is lost', async function () {
    const udp = (Engine: string) => ({ Network: '10.5.0.0/16', Backend: { Type: 'udp', Engine } })
    lab = await Lab.create({ segments: oneSegment(2), rpFilter: 1, netConf: udp('userspace') })
    const { hosts } = lab
    if ((await lab.host('h1').exec(['ip', 'fou', 'show'], { anyCode: true })).code === 0) this.skip()
    await bringUp(hosts)
    for (const host of hosts) await knowsPeers(host, 1)
    let changing = await ChangingHosts.start(hosts, 10)
    try {
      const conditions = async () =>
        await Promise.all(hosts.map(async (host) => JSON.stringify((await status(host)).conditions)))
      await lab.configure(udp('kernel'))
      await until(20_000, 'the module is named', async () => {
        for (const text of await conditions()) assert.match(text, /goes on with the udp that it has: .*modprobe fou/)
      })
      await changing.nothingLost()
      // The engine is a worker of the daemon: while that does not run it carries nothing.
      await changing.stop()
      for (const host of hosts) {
        await host.daemon?.stop()
        await startDaemon(host)
        await ready(host)
      }
      changing = await ChangingHosts.start(hosts, 10)
      for (const text of await conditions()) assert.match(text, /goes on with the udp that it has: .*modprobe fou/)
      for (const host of hosts) assert.match(await host.ip('link'), / flannel0: /)
      await lab.configure(udp('userspace'))
      await until(20_000, 'nothing is in the way', async () => {
        for (const text of await conditions()) assert.doesNotMatch(text, /backend-change-blocked/)
      })
      await changing.nothingLost()
    } finally {
      await changing.stop()
    }
  })
})
