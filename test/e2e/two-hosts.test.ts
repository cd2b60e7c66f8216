import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { needs, peerProgram } from '../needs.ts'
import {
  assertSame,
  countInLog,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  startOver,
  status,
  steady,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

const key = '/coreos.com/network/subnets/10.5.150.0-24'
const args = ['--public-ip=203.0.113.5', '--iface=eth0']

describe('two hosts with one address', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let first: Host
  let second: Host

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(2), netConf: vxlanFrom100 })
    first = lab.host('h1')
    second = lab.host('h2')
  })

  beforeEach(async () => {
    // What the first host leases is what its last run had.
    const text = 'FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.150.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n'
    await first.exec(['mkdir', '-p', first.folder])
    writeFileSync(first.paths.subnetFile, text)
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await startOver(lab, vxlanFrom100)
  })

  after(async () => {
    await lab?.close()
  })

  async function conditionOf(host: Host, code: string): Promise<{ text: string; remedy: string }> {
    let found: { text: string; remedy: string } | undefined
    await until(5_000, `${code} is shown`, async () => {
      const { conditions } = await status(host)
      found = conditions.find((each: { code: string }) => each.code === code)
      assert.ok(found, JSON.stringify(conditions))
    })
    return found as { text: string; remedy: string }
  }

  const entry = async () => {
    const found = await lab.etcd.get(key)
    return { modRevision: found?.modRevision, lease: found?.lease, value: JSON.parse(found?.value ?? '{}') }
  }
  const nodeIdFile = async (host: Host) =>
    (await host.exec(['find', host.paths.stateDir, '-name', 'node-id'])).stdout.trim()

  it('the second ends with 78 and names both, does not write again at the next starts, and the first goes on', async () => {
    await startDaemon(first, { args })
    await ready(first)
    const before = await networkOf(first)
    const { nodeId } = await status(first)
    let modRevision: unknown
    for (let start = 0; start < 4; start += 1) {
      await startDaemon(second, { args })
      assert.equal((await second.daemon?.waitExit({ timeout: 10_000 }))?.code, 78)
      const log = (await second.daemon?.logText()) ?? ''
      const other = readFileSync(await nodeIdFile(second), 'utf8').trim()
      assert.match(log, new RegExp(`203\\.0\\.113\\.5 is held by node ${nodeId} .*not by this node, ${other}.*--iface`))
      const now = await entry()
      assert.deepEqual([now.value.NodeID, now.value.Refused, now.value.Claim], [nodeId, [other], undefined])
      modRevision ??= now.modRevision
      assert.equal(now.modRevision, modRevision)
    }
    assert.equal((await lab.etcd.list('/coreos.com/network/subnets/')).length, 1)
    assertSame(await networkOf(first), before)
    assert.equal((await status(first)).state, 'ok')
    await assert.rejects(second.exec(['test', '-e', second.paths.subnetFile]))
  })

  it('one of two that start at once is ready, the other ends with 78', async () => {
    await Promise.all([startDaemon(first, { args }), startDaemon(second, { args })])
    await until(10_000, 'one has ended', async () =>
      assert.ok((first.daemon?.exit ?? second.daemon?.exit)?.code === 78),
    )
    const [winner] = [first, second].filter(({ daemon }) => daemon?.running)
    assert.ok(winner)
    await ready(winner)
    const leases = await lab.etcd.list('/coreos.com/network/subnets/')
    assert.deepEqual(
      leases.map(({ value }) => JSON.parse(value).NodeID),
      [(await status(winner)).nodeId],
    )
  })

  it('a host made anew waits for its former self, says how the wait is ended, and then is ready', async () => {
    await startDaemon(first, { args })
    await ready(first)
    const { nodeId } = await status(first)
    await first.daemon?.stop()
    const { lease } = await entry()
    await first.exec(['rm', '-rf', first.paths.stateDir])
    await startDaemon(first, { args })
    const { text, remedy } = await conditionOf(first, 'lease-waiting')
    assert.match(
      text,
      new RegExp(`lease 10\\.5\\.150\\.0-24 .*203\\.0\\.113\\.5 belongs to node ${nodeId}.*within 30 seconds`),
    )
    assert.match(remedy, new RegExp(`node ${nodeId} is gone for good, 'etcdctl del ${key}'`))
    const claimant = (await status(first)).nodeId
    await until(2_000, 'the claim is written', async () => {
      const { value, lease: attached } = await entry()
      assert.deepEqual([value.NodeID, value.Claim?.NodeID, attached], [nodeId, claimant, lease])
    })
    await lab.etcd.del(key)
    await ready(first)
    // Its subnet.env had named the subnet.
    assert.equal((await entry()).value.NodeID, (await status(first)).nodeId)
  })

  it('a copy of a state directory with the same address is named, and its lease left alone', async () => {
    await startDaemon(first, { args })
    await ready(first)
    await startDaemon(second)
    await ready(second)
    await second.daemon?.stop()
    await lab.etcd.del(
      `/coreos.com/network/subnets/${(await second.subnetEnv()).families[0]?.subnet?.replace('/', '-')}`,
    )
    writeFileSync(await nodeIdFile(second), readFileSync(await nodeIdFile(first)))
    await startDaemon(second, { args })
    const { text, remedy } = await conditionOf(second, 'lease-identity-shared')
    assert.match(text, /203\.0\.113\.5 .*the state directory was copied/)
    assert.match(remedy, /delete `node-id` there/)
    assert.equal((await status(first)).ready, true)
    const modRevision = await steady(1_500, async () => (await entry()).modRevision)
    assert.ok(modRevision)
    assert.equal(await countInLog(first, /own lease was overwritten, writing it once more/), 1)
  })

  describe('one of which runs flannel', function () {
    needs(this, 'peer:flanneld')

    it('a flannel elsewhere erases our NodeID: it is written once more, then the other is named', async () => {
      await startDaemon(first, { args })
      await ready(first)
      const flannel = { program: peerProgram('peer:flanneld'), args }
      await startDaemon(second, flannel)
      await second.subnetEnv()
      await until(5_000, 'our NodeID is back', async () =>
        assert.equal((await entry()).value.NodeID, (await status(first)).nodeId),
      )
      assert.equal((await status(first)).ready, true)
      await second.daemon?.stop()
      await startDaemon(second, flannel)
      const { remedy } = await conditionOf(first, 'lease-public-address-shared')
      assert.match(remedy, /give one of the two hosts an address of its own/)
      assert.equal((await entry()).value.NodeID, undefined)
    })
  })
})

describe('a host that was off for days', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(60_000)
  let lab: Lab

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
    await lab?.close()
  })

  it('leases its subnet again though the lease and subnet.env are gone', async () => {
    lab = await Lab.create({ segments: oneSegment(1), netConf: vxlanFrom100 })
    const host = lab.host('h1')
    const subnetAfter = async (work: () => Promise<unknown>) => {
      await host.daemon?.stop()
      await work()
      await lab.etcd.del('/coreos.com/network/subnets/', { prefix: true })
      await lab.etcd.put(...strangerLease(7))
      await startDaemon(host)
      await ready(host)
      return (await host.subnetEnv()).families[0]?.subnet
    }
    const first = await subnetAfter(async () => {})
    assert.equal(await subnetAfter(() => host.exec(['rm', '-f', host.paths.subnetFile])), first)
  })
})
