import assert from 'node:assert/strict'
import { cpSync, readdirSync } from 'node:fs'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import { leasePrefix, logsInFailure, oneSegment, ready, startDaemon, status, until, vxlan } from './world.ts'

const stateOf = (host: Host) => {
  const [instance = ''] = readdirSync(host.paths.stateDir)
  return `${host.paths.stateDir}/${instance}`
}

/** A machine that was copied while its daemon ran: with its state directory and all of /run, the lock of the subnet file included. */
describe('a cloned machine', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let original: Host
  let copy: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlan })
    original = lab.host('h1')
    copy = lab.host('h2')
    await startDaemon(original)
    await ready(original)
    // The folder of an instance bears the name of its subnet file, which differs between hosts of the lab.
    await startDaemon(copy)
    await ready(copy)
    await copy.daemon?.stop()
    await lab.etcd.del(`${leasePrefix}${(await copy.subnetEnv()).families[0]?.subnet?.replace('/', '-')}`)
    for (const file of readdirSync(stateOf(original)))
      cpSync(`${stateOf(original)}/${file}`, `${stateOf(copy)}/${file}`)
    for (const file of readdirSync(original.folder).filter((name) => name.includes('subnet.env')))
      cpSync(`${original.folder}/${file}`, `${copy.folder}/${file}`)
  })
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(() => lab?.close())

  it('with an address of its own is named, on one of the two, and no subnet is served twice', async () => {
    await startDaemon(copy)
    const told = async () => {
      const found = []
      for (const host of lab.hosts) {
        const { conditions, lease, ready: isReady } = await status(host)
        const shared = conditions.find(({ code }: { code: string }) => code === 'lease-identity-shared')
        found.push({ host: host.label, shared: shared?.text, remedy: shared?.remedy, isReady, lease: lease?.subnets })
      }
      return found
    }
    await until(20_000, 'it is named', async () => {
      const found = await told()
      assert.ok(
        found.some(({ shared }) => /state directory is shared with that host/.test(shared ?? '')),
        JSON.stringify(found),
      )
      assert.equal(found.filter(({ isReady }) => isReady).length, 1, JSON.stringify(found))
    })
    assert.match(JSON.stringify(await told()), /delete `node-id` there/)
  })
})
