import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { flanneld, logsInFailure, oneSegment, ready, startDaemon, status, until, vxlan } from './world.ts'

/** As hosts of a certain age do: each writes its own configuration at every boot. */
describe('a configuration that is changed back and forth', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(60_000)
  let lab: Lab
  let h1: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlan })
    h1 = lab.host('h1')
    await startDaemon(h1)
    await ready(h1)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => lab?.close())

  const configured = (mtu: number, spaces = '') =>
    lab.etcd.put(
      '/coreos.com/network/config',
      `${JSON.stringify({ ...vxlan, Backend: { Type: 'vxlan', MTU: mtu } })}${spaces}`,
    )

  const hasMtu = (outer: number) =>
    until(5_000, `the device has an MTU of ${outer} - 50`, async () => {
      const [link] = await h1.ipJson('link', 'show', 'dev', 'flannel.1')
      assert.equal(link.mtu, outer - 50)
    })

  const codes = async () => (await status(h1)).conditions.map(({ code }: { code: string }) => code)

  it('is followed four times, then held until `flanneld switch`', async () => {
    for (const mtu of [1400, 1300, 1400, 1300, 1400, 1300]) {
      await configured(mtu)
      await hasMtu(mtu)
    }
    await configured(1400, '\n')
    await until(5_000, 'the quarrel is named', async () => assert.ok((await codes()).includes('config-held')))
    await hasMtu(1300)
    const line = await flanneld(h1, ['status'])
    assert.equal(line.code, 1)
    assert.match(line.stdout, /Backend\.MTU 1300 -> 1400/)
    const switched = await flanneld(h1, ['switch'])
    assert.equal(switched.code, 0)
    assert.match(switched.stdout, /^the network configuration that waited is used now: Backend\.MTU 1300 -> 1400\n$/)
    await hasMtu(1400)
    assert.deepEqual(
      (await codes()).filter((code: string) => code.startsWith('config-')),
      [],
    )
    assert.match((await flanneld(h1, ['switch'])).stdout, /^nothing waits/)
  })

  it('is none where half of a value or other spaces came in between', async () => {
    const text = JSON.stringify({ ...vxlan, Backend: { Type: 'vxlan', MTU: 1400 } })
    for (let n = 1; n <= 8; n += 1) {
      await lab.etcd.put('/coreos.com/network/config', text.slice(0, 7 * n))
      await until(5_000, 'the half one is named', async () => assert.ok((await codes()).includes('config-invalid')))
      await configured(1400, ' '.repeat(n))
      await until(5_000, 'the whole one is there', async () =>
        assert.ok(!(await codes()).some((code: string) => code.startsWith('config-'))),
      )
    }
    await hasMtu(1400)
  })

  it('cannot be ordered where no daemon runs', async () => {
    await h1.daemon?.stop()
    const asked = await flanneld(h1, ['switch'])
    assert.equal(asked.code, 3)
    assert.match(asked.stderr, /flanneld is not running/)
  })
})
