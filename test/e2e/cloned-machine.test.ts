import assert from 'node:assert/strict'
import { cpSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs } from '../needs.ts'
import {
  daemonProgram,
  leasePrefix,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  startOver,
  status,
  steady,
  until,
  vxlan,
} from './world.ts'

/** Of a template behind NAT, or copied with the options. */
const oneAddress = ['--public-ip=203.0.113.5', '--iface=eth0']

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
  })
  beforeEach(() => startOver(lab, vxlan))
  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })
  after(() => lab?.close())

  const stateOf = (host: Host) => join(host.paths.stateDir, readdirSync(host.paths.stateDir)[0] ?? '')
  const cloneWhileItRuns = async (args: readonly string[]) => {
    await startDaemon(original, { args })
    await ready(original)
    // The folder of an instance bears the name of its subnet file, which differs between hosts of the lab.
    await startDaemon(copy)
    await ready(copy)
    await copy.daemon?.stop()
    await lab.etcd.del(`${leasePrefix}${(await copy.subnetEnv()).families[0]?.subnet?.replace('/', '-')}`)
    for (const file of readdirSync(stateOf(original))) cpSync(join(stateOf(original), file), join(stateOf(copy), file))
    for (const file of readdirSync(original.folder).filter((name) => name.includes('subnet.env')))
      cpSync(join(original.folder, file), join(copy.folder, file))
  }
  /** Hosts of the lab are of one boot; another machine is not. */
  const onAnotherMachine = (host: Host) => {
    const [program, bootId] = [join(host.folder, 'flanneld'), join(host.folder, 'boot_id')]
    writeFileSync(bootId, '11111111-2222-4333-8444-555555555555\n')
    const inside = `mount --bind ${bootId} /proc/sys/kernel/random/boot_id && exec ${daemonProgram} "$@"`
    writeFileSync(program, `#!/bin/sh\nexec unshare --mount sh -c '${inside}' sh "$@"\n`, { mode: 0o755 })
    return { program }
  }
  const shared = async (host: Host) => {
    const { conditions, ready: isReady } = await status(host)
    const condition = conditions.find(({ code }: { code: string }) => code === 'lease-identity-shared')
    return { isReady, text: condition?.text ?? '', remedy: condition?.remedy ?? '' }
  }
  /** One of the two says so, and serves nothing. */
  const isNamed = async (...loser: readonly Host[]) => {
    await until(20_000, 'it is named', async () => {
      const found = await Promise.all(lab.hosts.map(async (host) => ({ host, ...(await shared(host)) })))
      const text = JSON.stringify(found.map(({ host, ...rest }) => ({ host: host.label, ...rest })))
      const lost = found.filter(({ isReady }) => !isReady)
      assert.equal(lost.length, 1, text)
      if (loser.length > 0)
        assert.deepEqual(
          lost.map(({ host }) => host.label),
          loser.map(({ label }) => label),
          text,
        )
      assert.match(lost[0]?.text ?? '', /state directory (is shared with that host|was copied)/, text)
      assert.match(lost[0]?.remedy ?? '', /delete `node-id` there/, text)
    })
    const leases = await steady(2_000, async () => await lab.etcd.list(leasePrefix))
    assert.equal(leases.length, 1)
  }

  it('of which only /run was copied has another subnet and identity', async () => {
    await startDaemon(original)
    await ready(original)
    cpSync(original.paths.subnetFile, copy.paths.subnetFile)
    await startDaemon(copy)
    await ready(copy)
    const [one, two] = await Promise.all(lab.hosts.map(status))
    assert.notEqual(one.nodeId, two.nodeId)
    assert.notDeepEqual(one.lease.subnets, two.lease.subnets)
    assert.equal((await status(original)).ready, true)
  })

  describe('with an address of its own is named, on one of the two, and no subnet is served twice', () => {
    it('when it starts while the original runs', async () => {
      await cloneWhileItRuns([])
      await startDaemon(copy, onAnotherMachine(copy))
      await isNamed()
    })

    it('when it starts while the original is away, which comes back', async () => {
      await cloneWhileItRuns([])
      await original.daemon?.stop()
      await startDaemon(copy, onAnotherMachine(copy))
      await ready(copy)
      await startDaemon(original)
      await isNamed(copy)
    })
  })

  describe('with the address of the original, too', () => {
    it('is named and yields when it starts while the original runs; started again, one of the two is named', async () => {
      await cloneWhileItRuns(oneAddress)
      const options = { ...onAnotherMachine(copy), args: oneAddress }
      await startDaemon(copy, options)
      await isNamed(copy)
      await copy.daemon?.stop()
      await startDaemon(copy, options)
      await isNamed()
    })

    it('is named when it starts while the original is away, which comes back', async () => {
      await cloneWhileItRuns(oneAddress)
      await original.daemon?.stop()
      await startDaemon(copy, { ...onAnotherMachine(copy), args: oneAddress })
      await ready(copy)
      await startDaemon(original, { args: oneAddress })
      await isNamed()
    })
  })
})
