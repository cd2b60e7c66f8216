import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { daemonCommand } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import { needs, peerProgram } from '../needs.ts'
import { daemonProgram, flanneld, logsInFailure, oneSegment, ready, startDaemon, status, until } from './world.ts'

describe("flannel's daemon beside this one", function () {
  needs(this, 'netns', 'etcd', 'peer:flanneld')
  this.timeout(120_000)
  let lab: Lab

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' } } })
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(() => lab?.close())

  const named = async (host: Host, code = 'other-daemon'): Promise<string | undefined> =>
    (await status(host)).conditions.find((condition: { code: string }) => condition.code === code)?.text

  it('is named while it runs, whether its process can be seen or, as from within a pod, its socket alone', async () => {
    const [h1, h2] = [lab.host('h1'), lab.host('h2')]
    const program = join(lab.folder, 'in-a-pod')
    const unshared = 'unshare --pid --fork --kill-child --mount-proc'
    writeFileSync(program, `#!/bin/sh\nexec ${unshared} ${daemonProgram} "$@"\n`, { mode: 0o755 })
    await startDaemon(h1)
    await startDaemon(h2, { program, dialect: 'ours' })
    const flannels: Program[] = []
    for (const host of lab.hosts) {
      await ready(host)
      assert.equal(await named(host), undefined)
      flannels.push(await startFlannel(host))
    }
    await until(20_000, 'each names it', async () => {
      assert.match((await named(h1)) ?? '', /: it runs \(.*it has written /)
      assert.match((await named(h2)) ?? '', /: it has written /)
      assert.match((await h2.exec(['cat', '/proc/net/netlink'])).stdout, / 00000001 /)
    })
    // What it says of this one it has found at a look that has seen the socket as well.
    assert.equal((await flanneld(h2, [])).code, 75)
    await until(10_000, 'a look', async () => assert.ok(await named(h2, 'other-instance')))
    for (const flannel of flannels) {
      flannel.kill('SIGTERM')
      await flannel.waitExit()
    }
    await until(40_000, 'neither names it', async () =>
      assert.deepEqual(await Promise.all([named(h1), named(h2)]), [undefined, undefined]),
    )
  })
})

async function startFlannel(host: Host): Promise<Program> {
  const [flannel, { log }] = [peerProgram('peer:flanneld'), host.paths]
  const command = await daemonCommand({ program: flannel }, host.paths, 'http://192.0.2.10:2379')
  return await host.start(command, { log: `${log}.flannel` })
}
