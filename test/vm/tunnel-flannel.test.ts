import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { everyPairReaches, formatReach, measureReach } from '../../lab/reach-table.ts'
import { logsInFailure, startDaemon, twoSegments } from '../e2e/world.ts'
import { long } from '../long.ts'
import { needs, peerProgram } from '../needs.ts'
import {
  allKnow,
  bringUp,
  cleanUp,
  ipip,
  ipipDirect,
  loadFou,
  patience,
  patiently,
  tunnelLab,
  udp,
} from './tunnel-world.ts'

// Each takes minutes in an emulated machine.
for (const each of long ? [ipip, ipipDirect, udp] : [ipip, udp]) {
  describe(`${each.title} beside flannel's daemon`, function () {
    needs(this, 'netns', 'etcd', 'peer:flanneld')
    this.timeout(4 * patience)
    let lab: Lab
    let [h1, h2, h3]: Host[] = []

    // To flannel Backend.Engine is an unknown key, which is no error there.
    before(async () => {
      loadFou()
      lab = await tunnelLab(each, twoSegments)
      ;[h1, h2, h3] = [lab.host('h1'), lab.host('h2'), lab.host('h3')]
      await bringUp([h1], { program: peerProgram('peer:flanneld') })
      await bringUp([h2, h3])
    })
    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })
    after(async () => await lab?.close())

    function hosts(): readonly [Host, Host, Host] {
      assert(h1 && h2 && h3)
      return [h1, h2, h3]
    }

    async function allReach(): Promise<void> {
      await patiently('all pairs', async () => {
        const table = await measureReach(hosts())
        assert.ok(everyPairReaches(table), formatReach(table, { colour: false }).join('\n'))
      })
    }

    it('all reach each other, full-size packets included', async () => {
      const [flannel, one, two] = hosts()
      await allKnow([one, two], 2)
      await allReach()
      for (const [from, to] of [
        [flannel, two],
        [two, flannel],
        [flannel, one],
        [one, flannel],
      ] as const) {
        assert.equal((await from.subnetEnv()).mtu, each.mtu)
        const { received } = await from
          .container('c1')
          .ping(to.container('c1').address, { count: 2, size: each.mtu - 28, df: true, wait: 3_000 })
        assert.equal(received, 2, `${from.label} -> ${to.label}`)
      }
    })

    it('ours takes the place of flannel’s, with its subnet', async function () {
      const [host, one] = hosts()
      const before = await host.subnetEnv()
      const judge = one.container('c1').startPing(host.container('c1').address, 50)
      try {
        await judge.answered(AbortSignal.timeout(patience))
        await host.daemon?.stop()
        await startDaemon(host)
        await allKnow([host], 2)
        await allReach()
      } finally {
        await judge.stop()
      }
      const { text } = await host.subnetEnv()
      assert.equal(text, before.text)
      // flannel's proxy carries the packets of udp itself, and takes its device along.
      const gap = judge.verdict().lost * 50
      if (each === udp && this.test !== undefined) this.test.title += ` (gap in a ping: ${gap} ms)`
      if (each !== udp) assert.equal(gap, 0)
      const protocols = (await host.ipJson('route', 'show', 'dev', each.device)).map(({ protocol }) => protocol)
      assert.deepEqual(protocols, each.direct ? ['102'] : ['102', '102'])
    })

    it('flannel’s takes the place of ours', async () => {
      const [, host] = hosts()
      const before = await host.subnetEnv()
      await host.daemon?.stop()
      // Its proxy needs port and device name that the kernel holds for ours.
      if (each === udp) await cleanUp(host)
      await startDaemon(host, { program: peerProgram('peer:flanneld') })
      await allReach()
      assert.equal((await host.subnetEnv({ timeout: patience })).text, before.text)
    })
  })
}
