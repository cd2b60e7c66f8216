import assert from 'node:assert/strict'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Lab } from '../../lab/lab.ts'
import { needs, nodeProgram, nodeVersions } from '../needs.ts'
import {
  assertSame,
  daemonProgram,
  knowsPeers,
  logsInFailure,
  networkOf,
  oneSegment,
  startDaemon,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

describe('the whole daemon', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(180_000)
  let lab: Lab

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlanFrom100 })
    await lab.etcd.putAll([1, 2].map((n) => strangerLease(n)))
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await lab?.close()
  })

  for (const version of nodeVersions) {
    describe(`under Node ${version}`, function () {
      needs(this, `node:${version}`)
      it('leases, programs, heals and ends', async () => {
        const [host] = lab.hosts
        assert.ok(host)
        const program = join(lab.folder, `node-${version}`)
        writeFileSync(program, `#!/bin/sh\nexec ${nodeProgram(version)} ${daemonProgram} "$@"\n`)
        chmodSync(program, 0o755)
        const daemon = await startDaemon(host, { program })
        await knowsPeers(host, 2)
        const before = await networkOf(host)
        await host.ip('link', 'del', 'flannel.1')
        await until(1_000, 'healed', async () => assertSame(await networkOf(host), before))
        daemon.kill('SIGTERM')
        assert.deepEqual(await daemon.waitExit(), { code: 0, signal: null })
        assert.doesNotMatch(await daemon.logText(), /Warning:|at .*node:internal/)
      })
    })
  }
})
