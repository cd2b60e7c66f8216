import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OtherDaemons } from '../../../flanneld/other-daemons/watch.ts'
import { noteRefusal } from '../../../flanneld/state/instance-lock.ts'
import { ConditionSet } from '../../../flanneld/status/status.ts'
import type { Cidr, IpAddr } from '../../../lib/address.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import { until } from '../../until.ts'

const me = { pid: 1, pod: 'kube-flannel/kube-flannel-ds-a' }

describe('other flannel daemons of the host', () => {
  let folder: string
  let subnetFile: string
  let clock: VirtualClock
  let conditions: ConditionSet
  let others: OtherDaemons
  let stop: AbortController
  let running: Promise<void>
  const found = () => conditions.list().map(({ code, text }) => `${code}: ${text}`)

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'other-daemons-'))
    subnetFile = join(folder, 'subnet.env')
    clock = new VirtualClock()
    conditions = new ConditionSet({ clock })
    others = new OtherDaemons({ conditions, clock }, { subnetFile, me })
    stop = new AbortController()
    running = others.run(stop.signal)
  })

  afterEach(async () => {
    stop.abort()
    await running
    rmSync(folder, { recursive: true })
  })

  for (const draft of ['.subnet.env', '.subnet.env1234567']) {
    it(`are named when flannel's writes subnet.env by way of ${draft}, for an hour`, async () => {
      // The watch has begun when it sees the first file of all.
      await until(2_000, 'it is seen', async () => {
        writeFileSync(join(folder, draft), '')
        renameSync(join(folder, draft), subnetFile)
        assert.match(
          found().join(),
          new RegExp(`^other-daemon: another flannel daemon .* beside this one: it has written ${subnetFile};`),
        )
      })
      await clock.advance(3_500_000)
      assert.equal(found().length, 1)
      await clock.advance(200_000)
      assert.deepEqual(found(), [])
    })
  }

  it('are not those whose files have other names: ours, an editor', async () => {
    let seen = 0
    for (const name of ['.subnet.env.new', '.subnet.env.swp', '.subnet.env.lock', 'subnet.env']) {
      writeFileSync(join(folder, name), `${++seen}`)
    }
    // What is seen last shows that the others were seen, too.
    await until(2_000, 'the last is seen', async () => {
      refuse('kube-system/b')
      assert.deepEqual(codes(), ['other-instance'])
    })
  })

  it("are named by flannel's routes, with the first of them", () => {
    const route = { kind: 'route', family: 4, metric: 0, type: 'unicast', protocol: 3, onLink: true } as const
    const to = (subnet: string, via: string) =>
      others.onFlannelsRoute({ ...route, dst: subnet as Cidr, via: via as IpAddr, device: 'flannel.1' })
    to('10.5.7.0/24', '10.5.7.0')
    to('10.5.8.0/24', '10.5.8.0')
    assert.match(found().join(), /it makes routes \(10\.5\.7\.0\/24 via 10\.5\.7\.0 dev flannel\.1\)/)
  })

  const codes = () => conditions.list().map(({ code }) => code)
  function refuse(pod: string) {
    noteRefusal(subnetFile, { pid: 1, pod })
    const now = clock.wall() / 1000
    utimesSync(join(folder, '.subnet.env.refused'), now, now)
  }

  it('are named when one of this program was refused, for six minutes', async () => {
    await until(2_000, 'it is named', async () => {
      refuse('kube-system/kube-flannel-ds-b')
      assert.match(
        found().join(),
        /^other-instance: another flanneld \(pod kube-system\/kube-flannel-ds-b\) is started/,
      )
    })
    await clock.advance(400_000)
    assert.deepEqual(found(), [])
  })

  it('are not this pod, refused while the one before it had not ended', async () => {
    await until(2_000, 'the note is seen', async () => {
      refuse('kube-system/b')
      assert.deepEqual(codes(), ['other-instance'])
    })
    refuse(me.pod)
    await until(2_000, 'the next note is seen', async () => assert.deepEqual(found(), []))
  })
})
