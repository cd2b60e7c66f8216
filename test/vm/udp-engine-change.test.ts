import './slow.ts'
import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { logsInFailure, oneSegment, status } from '../e2e/world.ts'
import { needs } from '../needs.ts'
import { allKnow, bringUp, loadFou, patience, patiently, tunnelLab, udp } from './tunnel-world.ts'

describe('a change of the udp engine', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(6 * patience)
  let lab: Lab
  let judge: PingJudge | undefined

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(async () => {
    await judge?.stop().catch(() => undefined)
    await lab?.close()
  })

  it('goes into use without a restart, by the other device, with a gap', async function () {
    loadFou()
    lab = await tunnelLab(udp, oneSegment(2))
    const [one, two] = lab.hosts as [Host, Host]
    await bringUp(lab.hosts)
    await allKnow(lab.hosts, 1)
    const pids = lab.hosts.map(({ daemon }) => daemon?.pid)
    judge = one.container('c1').startPing(two.container('c1').address, 100)
    await judge.answered(AbortSignal.timeout(patience))
    const gaps: string[] = []
    for (const [engine, device] of [
      ['userspace', 'flannel1'],
      ['kernel', 'flannel0'],
    ] as const) {
      const { lost } = judge.verdict()
      await lab.configure({ Network: '10.5.0.0/16', Backend: { Type: 'udp', Engine: engine } })
      for (const host of lab.hosts)
        await patiently(`${host.label} has the engine ${engine}`, async () => {
          const { conditions, notReady } = await status(host)
          const codes = conditions.map(({ code }: { code: string }) => code)
          assert(codes.includes(`udp-engine-${engine}`), codes.join(' '))
          assert.deepEqual(notReady, [])
          const links = (await host.ipJson('-d', 'link')).filter(({ ifname }) => String(ifname).startsWith('flannel'))
          const kinds = links.map(({ ifname, linkinfo }) => [ifname, linkinfo?.info_kind])
          assert.deepEqual(kinds, [[device, engine === 'kernel' ? 'ipip' : 'tun']])
        })
      await patiently('packets pass', async () => {
        const { received } = await one.container('c1').ping(two.container('c1').address, { count: 3, wait: 2_000 })
        assert.equal(received, 3)
      })
      gaps.push(`${judge.verdict().lost - lost} of ten a second lost to ${engine}`)
    }
    assert.deepEqual(
      lab.hosts.map(({ daemon }) => daemon?.pid),
      pids,
    )
    if (this.test !== undefined)
      this.test.title += ` (${gaps.join(', ')}; longest ${judge.verdict().longestGapMs} ms, emulated)`
  })
})
