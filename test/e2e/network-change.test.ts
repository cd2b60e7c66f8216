import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { PingJudge } from '../../lab/ping-judge.ts'
import { needs } from '../needs.ts'
import { answer, outside, rulePlaces, seenAs } from './rules.ts'
import {
  bringUp,
  flanneld,
  knowsPeers,
  leaseOf,
  logsInFailure,
  oneSegment,
  ready,
  startDaemon,
  status,
  until,
  vxlan,
} from './world.ts'

const masq = { args: ['--ip-masq'] }

describe('a change of the network', function () {
  needs(this, 'netns', 'etcd')
  this.timeout(120_000)
  let lab: Lab
  let h1: Host
  let h2: Host
  let judges: readonly PingJudge[] = []
  let leases: readonly string[] = []

  before(async () => {
    lab = await Lab.create({ segments: oneSegment(3), netConf: vxlan })
    ;[h1, h2] = [lab.host('h1'), lab.host('h2')]
    await bringUp([h1, h2], masq)
    await answer(lab.controlPlane)
    for (const host of [h1, h2]) await knowsPeers(host, 1)
    const [c1, c2] = [h1.container('c1'), h2.container('c1')]
    judges = [c1.startPing(c2.address, 20), c2.startPing(c1.address, 20)]
    await Promise.all(judges.map((judge) => judge.answered(AbortSignal.timeout(30_000))))
    leases = await leaseKeys()
  })

  afterEach(async function () {
    await logsInFailure(this.currentTest?.err, lab)
  })

  after(async () => {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
    await lab?.close()
  })

  const leaseKeys = async () => [(await leaseOf(lab, h1)).key, (await leaseOf(lab, h2)).key]
  const configured = (fields: object) => lab.configure({ ...vxlan, ...fields })

  const conditions = async (host: Host): Promise<readonly { code: string; text: string; remedy: string }[]> =>
    (await status(host)).conditions.filter(({ severity }: { severity: string }) => severity !== 'info')

  const has = async (host: Host, code: string | undefined, text = /./) => {
    await until(10_000, `${host.label} says ${code ?? 'nothing'}`, async () => {
      const found = await conditions(host)
      assert.deepEqual(
        found.map((condition) => condition.code),
        code === undefined ? [] : [code],
      )
      if (code !== undefined) assert.match(found[0]?.text ?? '', text)
    })
  }

  const uses = async (host: Host, network: string) => {
    await until(10_000, `${host.label} uses ${network}`, async () => {
      assert.match((await host.subnetEnv()).text, new RegExp(`^FLANNEL_NETWORK=${network}$`, 'm'))
      const { stdout } = await host.exec(['sh', '-c', 'iptables-nft-save; nft list ruleset | grep masquerade'])
      const named = new Set(stdout.match(/10\.\d+\.0\.0\/1[4-7]/g))
      assert.deepEqual([...named], [network])
    })
  }

  const nothingLost = async () => {
    const sent = judges.map((judge) => judge.verdict().sent)
    await until(10_000, 'more packets', async () => {
      for (const [n, judge] of judges.entries()) assert.ok(judge.verdict().sent > (sent[n] ?? 0) + 25)
    })
    for (const judge of judges) assert.equal(judge.verdict().lost, 0)
  }

  it('to a larger one, with the same start or around it, goes into use alive', async () => {
    for (const network of ['10.5.0.0/15', '10.4.0.0/14', '10.5.0.0/16']) {
      const aligned = network === '10.5.0.0/15' ? '10.4.0.0/15' : network
      await configured({ Network: aligned })
      for (const host of [h1, h2]) await uses(host, aligned)
      for (const host of [h1, h2]) await knowsPeers(host, 1)
    }
    assert.deepEqual(await leaseKeys(), leases)
    for (const host of [h1, h2]) await has(host, undefined)
    assert.equal(await seenAs(h1.container('c1'), outside), h1.address)
    await nothingLost()
  })

  it('that the own lease does not fit is refused, named with what would be renumbered, and stays so over restarts', async () => {
    await configured({ Network: '10.7.0.0/16' })
    const [other] = leases[1]?.match(/10\.5\.\d+\.0-24/) ?? []
    await has(
      h1,
      'config-refused',
      new RegExp(`Network: 10\\.5\\.\\d+\\.0/24, .* does not lie in 10\\.7\\.0\\.0/16; .*besides: ${other}`),
    )
    assert.match((await conditions(h1))[0]?.remedy ?? '', /stop its containers, then restart/)
    await h1.daemon?.kill('SIGKILL')
    await h1.daemon?.stop()
    await startDaemon(h1, masq)
    await ready(h1)
    for (const host of [h1, h2]) await knowsPeers(host, 1)
    await has(h1, 'config-refused')
    await uses(h1, '10.5.0.0/16')
    assert.deepEqual(await leaseKeys(), leases)
    await configured({ SubnetLen: 25 })
    await has(h1, 'config-refused', /SubnetLen: 25 is not the length of 10\.5\.\d+\.0\/24/)
    await configured({})
    for (const host of [h1, h2]) await has(host, undefined)
    await nothingLost()
  })

  it('to other bounds takes no subnet from containers, not even at a restart', async () => {
    await configured({ SubnetMin: '10.5.0.0', SubnetMax: '10.5.0.0' })
    await h1.daemon?.stop()
    await startDaemon(h1, masq)
    await ready(h1)
    assert.deepEqual(await leaseKeys(), leases)
    await nothingLost()
    await configured({})
  })

  it('to rules of the other tool moves them alive: at no moment are there none, and at the end not both', async () => {
    const tools = async () => {
      const { stdout } = await h1.exec(['nft', 'list', 'ruleset'])
      // One reading of all tables, those of iptables-nft among them.
      const tables = stdout.split(/^table /m)
      const masquerades = (table: RegExp) => tables.some((text) => table.test(text) && /masquerade/i.test(text))
      return [masquerades(/^ip nat \{[\s\S]*chain FLANNEL-POSTRTG/), masquerades(/^ip flannel-ipv4/)]
    }
    for (const nftables of [true, false, true, false]) {
      await configured({ EnableNFTables: nftables })
      await until(15_000, `rules by ${nftables ? 'nft' : 'iptables'}`, async () => {
        const found = await tools()
        if (!found.includes(true)) throw new Error('the test fails: no rules at all')
        assert.deepEqual(found, [!nftables, nftables])
      })
      assert.equal(await seenAs(h1.container('c1'), outside), h1.address)
    }
    for (const host of [h1, h2]) await has(host, undefined)
    assert.deepEqual(new Set(await rulePlaces(h1)).size, (await rulePlaces(h1)).length)
    await nothingLost()
  })

  it('is taken at the next start where no container runs', async () => {
    const h3 = lab.host('h3')
    await startDaemon(h3)
    await ready(h3)
    await configured({ Network: '10.7.0.0/16' })
    await has(h3, 'config-refused')
    await h3.daemon?.stop()
    await startDaemon(h3)
    await until(15_000, 'it has a new subnet', async () => {
      assert.match((await leaseOf(lab, h3)).key, /10\.7\.\d+\.0-24$/)
      assert.match((await h3.subnetEnv()).text, /^FLANNEL_NETWORK=10\.7\.0\.0\/16$/m)
    })
    assert.deepEqual(await leaseKeys(), leases)
    assert.equal((await flanneld(h1, ['status', '--brief'])).code, 1)
    await nothingLost()
  })

  it('around both networks goes into use together with another backend, which all peers move to', async () => {
    await configured({ Network: '10.4.0.0/14', Backend: { Type: 'vxlan', VNI: 7 } })
    for (const host of [h1, h2]) {
      await uses(host, '10.4.0.0/14')
      await until(30_000, `${host.label} has the new device only`, async () => {
        const { stdout } = await host.exec(['ip', '-o', 'link'])
        assert.deepEqual(stdout.match(/flannel\.\d+(?=[:@])/g), ['flannel.7'])
      })
      await has(host, undefined)
    }
    assert.deepEqual(await leaseKeys(), leases)
    await nothingLost()
  })
})
