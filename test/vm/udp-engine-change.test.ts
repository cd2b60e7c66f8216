import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { logsInFailure, oneSegment, startDaemon, status } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { allKnow, bringUp, loadFou, patience, patiently, tunnelLab, udp } from './tunnel-world.ts'

describe('a change of the udp engine', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(4 * patience)
  let lab: Lab

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => await lab?.close())

  it('makes the device anew at the next start, and both engines reach each other', async () => {
    loadFou()
    lab = await tunnelLab(udp, oneSegment(2))
    const [one, two] = lab.hosts as [Host, Host]
    await bringUp(lab.hosts)
    await allKnow(lab.hosts, 1)
    for (const engine of ['userspace', 'kernel'] as const) {
      await lab.configure({ Network: '10.5.0.0/16', Backend: { Type: 'udp', Engine: engine } })
      await one.daemon?.stop()
      await startDaemon(one)
      await allKnow([one], 1)
      const codes = (await status(one)).conditions.map(({ code }: { code: string }) => code)
      assert(codes.includes(`udp-engine-${engine}`), codes.join(' '))
      const [link] = await one.ipJson('-d', 'link', 'show', 'flannel0')
      assert.equal(link.linkinfo.info_kind, engine === 'kernel' ? 'ipip' : 'tun')
      await patiently('packets pass', async () => {
        const { received } = await one.container('c1').ping(two.container('c1').address, { count: 1, wait: 2_000 })
        assert.equal(received, 1)
      })
    }
  })
})
