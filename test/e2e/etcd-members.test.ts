import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { defaultPrefix, Lab } from '../../lab/lab.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import {
  assertSame,
  logsInFailure,
  networkOf,
  oneSegment,
  ready,
  startDaemon,
  status,
  strangerLease,
  until,
  vxlanFrom100,
} from './world.ts'

/** Fault row 23: three members, and the daemon is with the one that the other two have lost. */
if (long) {
  describe('three members of etcd', function () {
    needs(this, 'netns', 'etcd')
    this.timeout(180_000)
    let lab: Lab
    let host: Host
    let members: readonly Host[]

    before(async () => {
      lab = await Lab.create({ segments: oneSegment(4), etcd: false })
      host = lab.host('h1')
      members = lab.hosts.slice(1)
      const cluster = members.map(({ label, address }) => `${label}=http://${address}:2380`).join()
      for (const member of members) {
        const { label, address, folder } = member
        const [client, peer] = [`http://${address}:2379`, `http://${address}:2380`]
        const urls = [`--listen-client-urls=${client},http://127.0.0.1:2379`, `--advertise-client-urls=${client}`]
        const peers = [`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`]
        const name = [`--name=${label}`, `--data-dir=${join(folder, 'data')}`, '--logger=zap', '--log-level=error']
        await member.start(['etcd', ...name, ...urls, ...peers, `--initial-cluster=${cluster}`], {
          log: join(folder, 'etcd.log'),
        })
      }
      await until(20_000, 'the members have a leader', () => ctl('h2', 'endpoint', 'health'))
      await ctl('h2', 'put', `${defaultPrefix}/config`, JSON.stringify(vxlanFrom100))
      for (const n of [1, 2, 3]) await ctl('h2', 'put', ...strangerLease(n))
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(async () => {
      await lab?.close()
    })

    const ctl = async (label: string, ...words: readonly string[]) =>
      (
        await lab
          .host(label)
          .exec(['etcdctl', '--endpoints=http://127.0.0.1:2379', ...words], { env: { ETCDCTL_API: '3' } })
      ).stdout
    const url = (label: string) => `http://${lab.host(label).address}:2379`
    const peers = async (expected: readonly number[]) => {
      const { peers, rejected } = await status(host)
      const ids = peers.map(({ id }: { id: string }) => id)
      assert.deepEqual([ids, rejected], [expected.map((n) => `10.5.${n}.0-24`), []])
    }
    /** The member hears nothing of the others, and they nothing of it; clients reach it all the same. */
    const cutOff = async (label: string) => {
      const others = members.filter((member) => member.label !== label).map(({ address }) => address)
      const rules = `add table ip alone
        add chain ip alone in { type filter hook input priority 0; }
        add rule ip alone in ip saddr { ${others.join()} } drop`
      await lab.host(label).exec(['nft', '-f', '-'], { input: rules })
    }

    it('the daemon leaves the one without a majority, decides nothing by it, and goes on with the others (row 23)', async () => {
      await startDaemon(host, { etcdEndpoints: ['h3', 'h2', 'h4'].map(url).join() })
      await ready(host)
      await until(5_000, 'peers', () => peers([1, 2, 3]))
      assert.equal(`http://${(await status(host)).datastore.endpoint}`, url('h3'))
      const before = await networkOf(host)
      await cutOff('h3')
      await until(20_000, 'the majority has a leader', () => ctl('h2', 'put', '/elsewhere', 'x'))
      await ctl('h2', 'put', ...strangerLease(4))
      await ctl('h4', 'del', strangerLease(1)[0])
      await until(30_000, 'the daemon is with the majority', () => peers([2, 3, 4]))
      const { datastore, ready: isReady } = await status(host)
      assert.notEqual(`http://${datastore.endpoint}`, url('h3'))
      assert.equal(isReady, true)

      // A fresh process whose first endpoint is the one that is alone believes nothing of what it says either.
      await host.daemon?.stop()
      await startDaemon(host, { etcdEndpoints: ['h3', 'h2', 'h4'].map(url).join() })
      await ready(host, 30_000)
      await until(5_000, 'peers', () => peers([2, 3, 4]))

      await lab.host('h3').exec(['nft', 'delete', 'table', 'ip', 'alone'])
      await until(20_000, 'the member is back', () => ctl('h3', 'put', ...strangerLease(1)))
      await ctl('h3', 'del', strangerLease(4)[0])
      await until(5_000, 'as before', async () => assertSame(await networkOf(host), before))
    })
  })
}
