import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
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
    mkdirSync(join(folder, 'proc/self/net'), { recursive: true })
    others = new OtherDaemons({ conditions, clock }, { subnetFile, me, proc: join(folder, 'proc') })
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

  const route = { kind: 'route', family: 4, metric: 0, type: 'unicast', protocol: 3, onLink: true } as const
  const to = (subnet: string, via: string) =>
    others.onFlannelsRoute({ ...route, dst: subnet as Cidr, via: via as IpAddr, device: 'flannel.1' })

  it("are named by flannel's routes, with the first of them", () => {
    to('10.5.7.0/24', '10.5.7.0')
    to('10.5.8.0/24', '10.5.8.0')
    assert.match(found().join(), /it makes routes \(10\.5\.7\.0\/24 via 10\.5\.7\.0 dev flannel\.1\)/)
  })

  /** As /proc/net/netlink has them. */
  function openSockets(...groups: string[]) {
    const lines = groups.map(
      (mask) => `0000000049ca02b3 0   3131       ${mask} 0        0        0     2        0        7113673 `,
    )
    writeFileSync(
      join(folder, 'proc/self/net/netlink'),
      `sk               Eth Pid        Groups\n${lines.join('\n')}\n`,
    )
  }

  it('are named no longer than flannel has its socket, where its process cannot be seen', async () => {
    const [links, ofOurs] = ['00000001', '00000551']
    openSockets(ofOurs, links)
    to('10.5.7.0/24', '10.5.7.0')
    await clock.advance(60_000)
    assert.equal(found().length, 1)
    openSockets(ofOurs)
    await clock.advance(5_000)
    assert.deepEqual(found(), [])
    // One that never had such a socket.
    to('10.5.7.0/24', '10.5.7.0')
    await clock.advance(3_500_000)
    assert.equal(found().length, 1)
  })

  it('are named no longer than the process can be seen, whatever sockets there are', async () => {
    openSockets('00000001')
    const process = join(folder, 'proc/4711')
    mkdirSync(process)
    writeFileSync(join(process, 'comm'), 'flanneld\n')
    writeFileSync(join(process, 'cmdline'), `flanneld\0--subnet-file=${subnetFile}\0`)
    symlinkSync('/opt/bin/flanneld', join(process, 'exe'))
    symlinkSync('/', join(process, 'root'))
    to('10.5.7.0/24', '10.5.7.0')
    assert.match(found().join(), /it runs \(\/opt\/bin\/flanneld, pid 4711\), it makes routes/)
    rmSync(process, { recursive: true })
    await clock.advance(25_000)
    assert.deepEqual(found(), [])
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
