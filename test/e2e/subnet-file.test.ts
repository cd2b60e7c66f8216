import assert from 'node:assert/strict'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  daemonProgram,
  knowsPeers,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  status,
  strangerLease,
  until,
  vxlanFrom100,
  whileFrozen,
} from './world.ts'

/** The longest wait between two tries, and a little more. */
const retriedMs = 32_000

/** Fault row 9. The daemon has a mount namespace of its own: what is mounted for a test goes with it. */
describe('subnet.env', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(300_000)
  let lab: Lab
  let host: Host
  let place: string

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    await lab.etcd.put(...strangerLease(1))
    host = lab.host('h1')
    place = join(host.folder, 'small')
    const program = join(lab.folder, 'with-a-small-disk')
    const script = `mkdir -p ${place} && mount -t tmpfs -o size=16k,mode=0755 tmpfs ${place} && exec ${daemonProgram} "$@"`
    writeFileSync(program, `#!/bin/sh\nexec unshare --mount sh -c '${script}' flanneld "$@"\n`)
    chmodSync(program, 0o755)
    await startDaemon(host, { program, args: [`--subnet-file=${place}/subnet.env`] })
    await startDaemon(lab.host('h2'))
    await lab.host('h2').subnetEnv()
    await lab.host('h2').addContainer('c1')
    for (const each of lab.hosts) await knowsPeers(each, 2)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  const inside = async (script: string) =>
    (
      await host.exec([
        'nsenter',
        '--mount',
        `--target=${host.daemon?.pid}`,
        '--',
        'sh',
        '-ec',
        `cd ${place}\n${script}`,
      ])
    ).stdout
  const setMtu = (mtu: number) => host.ip('link', 'set', 'eth0', 'mtu', String(mtu))
  const shows = async (mtu: number) =>
    assert.match(await inside('cat subnet.env'), new RegExp(`^FLANNEL_MTU=${mtu - 50}$`, 'm'))

  beforeEach(async () => {
    await setMtu(1500)
    await until(retriedMs, 'the file is right', () => shows(1500))
    await ready(host)
  })

  /** Not ready for this reason and no other; peers are followed, faults heal and packets pass all the same. */
  const onlyTheFileIsBroken = async (why: RegExp) => {
    await until(5_000, `not ready: ${why}`, async () => {
      const { notReady } = await status(host)
      assert.equal(notReady.length, 1, notReady.join('\n'))
      assert.match(notReady[0], why)
    })
    await lab.etcd.put(...strangerLease(2))
    const route = /^10\.5\.2\.0\/24 (nhid \d+ )?via/m
    const routes = async () => (await networkOf(host)).join('\n')
    await until(2_000, 'a peer that joins is followed', async () => assert.match(await routes(), route))
    await host.ip('route', 'del', '10.5.2.0/24')
    await until(1_000, 'healed', async () => assert.match(await routes(), route))
    await lab.etcd.del(strangerLease(2)[0])
    await until(2_000, 'a peer that leaves is followed', async () => assert.doesNotMatch(await routes(), route))
    assert.equal((await host.ping(lab.host('h2').container('c1').address, { count: 3 })).received, 3)
    assert.equal(host.daemon?.running, true)
  }

  it('stays whole while the disk is full, and follows when there is room (row 9)', async () => {
    await shows(1500)
    await inside('dd if=/dev/zero of=fill bs=1k 2>/dev/null || true')
    const before = await inside('cat subnet.env')
    try {
      await setMtu(1400)
      await onlyTheFileIsBroken(/subnet\.env: ENOSPC: no space left on device/)
      assert.equal(await inside('cat subnet.env'), before)
      assert.equal(await inside('ls -A'), '.subnet.env.lock\nfill\nsubnet.env\n')
    } finally {
      await inside('rm fill')
    }
    await until(retriedMs, 'the file follows', () => shows(1400))
    await ready(host)
  })

  it('stays as it is on a disk that became read-only, and follows when it may be written (row 9)', async () => {
    // A second mount over the first: that one has the daemon's lock file open, which forbids a change of it.
    await inside(`mount --bind ${place} ${place} && mount -o remount,bind,ro ${place}`)
    try {
      const before = await inside('cat subnet.env')
      await setMtu(1450)
      await onlyTheFileIsBroken(/subnet\.env: EROFS: read-only file system/)
      assert.equal(await inside('cat subnet.env'), before)
    } finally {
      await inside(`cd / && umount ${place}`)
    }
    await until(retriedMs, 'the file follows', () => shows(1450))
    await ready(host)
  })

  it('keeps the options that mk-docker-opts writes into it, and nothing else that is added', async () => {
    const script = join(import.meta.dirname, '../../packaging/docker/mk-docker-opts.sh')
    const own = await inside('cat subnet.env')
    await inside(`sh ${script} -f subnet.env -d subnet.env && echo 'DOCKER_OPTS="$(id)"' >>subnet.env`)
    await until(1_000, 'the command is gone', async () =>
      assert.doesNotMatch(await inside('cat subnet.env'), /\$\(id\)/),
    )
    const text = await inside('cat subnet.env')
    assert.ok(text.startsWith(own), text)
    assert.match(text.slice(own.length), /^(DOCKER_OPT_\w+="--\S+"\n)+DOCKER_OPTS=" --bip=.* --mtu=1450"\n$/)
    await setMtu(1400)
    await until(retriedMs, 'flannel’s lines follow', () => shows(1400))
    assert.match(await inside('cat subnet.env'), /^DOCKER_OPTS=" --bip=.* --mtu=1450"$/m)
    await inside('rm subnet.env')
    await until(1_000, 'the file is back', () => shows(1400))
  })

  it('is not forced into the place of a directory, and comes when that is gone (row 9)', async () => {
    // At once, or the file would be back before the directory comes.
    await whileFrozen(host, () => inside('rm subnet.env; mkdir subnet.env; echo precious > subnet.env/kept'))
    try {
      await onlyTheFileIsBroken(/subnet\.env: EISDIR: /)
      assert.equal(await inside('cat subnet.env/kept'), 'precious\n')
    } finally {
      await inside('rm -r subnet.env')
    }
    await until(1_000, 'the file is back', () => shows(1500))
    await ready(host)
  })
})
