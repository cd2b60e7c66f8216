import assert from 'node:assert/strict'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { logsInFailure, oneSegment, startDaemon, until } from './world.ts'

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
})
