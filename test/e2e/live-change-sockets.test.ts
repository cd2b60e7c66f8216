import assert from 'node:assert/strict'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { type Cidr, networkAddress } from '../../lib/address.ts'
import { long } from '../long.ts'
import { needs } from '../needs.ts'
import { echo, HeldConnection } from './held-connections.ts'
import { bringUp, flanneld, knowsPeers, logsInFailure, ready, startDaemon, status, until } from './world.ts'

const NETWORKS = { IPv4: { Network: '10.5.0.0/16' }, IPv6: { EnableIPv6: true, IPv6Network: 'fc00::/48' } }
type Name = keyof typeof NETWORKS
const [VXLAN, OTHER_VNI, HOST_GW] = [{ Type: 'vxlan' }, { Type: 'vxlan', VNI: 7 }, { Type: 'host-gw' }]
const options = { args: ['--ip-masq', '--ingress-guard=on'] }
const [PORT, OWN_PORT] = [5003, 5004]
const SEGMENT = { name: 'lan1', subnet: '192.168.64.0/24', subnet6: 'fd00:64::/64', hosts: ['h1', 'h2'] }

for (const families of long ? ([['IPv4'], ['IPv4', 'IPv6']] as const) : ([['IPv4']] as const))
  describe(`sockets of the host that are bound to an address of the old device, ${families.join(' and ')}`, function () {
    const config = (Backend: object) => ({
      ...Object.assign({}, ...families.map((family: Name) => NETWORKS[family])),
      Backend,
    })
    needs(this, 'netns', 'etcd')
    this.timeout(240_000)
    let lab: Lab
    let h1: Host
    let h2: Host
    /** From and to the address, made while the backend is vxlan. */
    const connections: HeldConnection[] = []
    let own: readonly string[] = []

    before(async () => {
      lab = await Lab.create({ segments: [SEGMENT], rpFilter: 1, netConf: config(VXLAN) })
      ;[h1, h2] = [lab.host('h1'), lab.host('h2')]
      await bringUp(lab.hosts, options)
      for (const host of lab.hosts) await knowsPeers(host, 1)
    })

    afterEach(async function () {
      await logsInFailure(this.currentTest?.err, lab)
    })

    after(async () => lab?.close())

    const addressesOn = async (host: Host, device: string) => {
      const links = await host.ipJson('address', 'show', 'dev', device)
      // biome-ignore lint/suspicious/noExplicitAny: the shape is iproute2's
      const found = links.flatMap(({ addr_info }: any) => addr_info.map(({ local }: any) => String(local)))
      return found.filter((address: string) => !/^(127\.|::1$|fe80:)/.test(address)).sort()
    }
    const changed = async (backend: object, device: string) => {
      await lab.configure(config(backend))
      for (const host of lab.hosts) await flanneld(host, ['switch'])
      await until(30_000, `all is ${device}`, async () => {
        for (const [host, to] of [
          [h1, h2],
          [h2, h1],
        ] as const) {
          const { backendChange, notReady } = await status(host)
          assert.deepEqual([backendChange, notReady], [null, []])
          const [route] = await host.ipJson('route', 'get', to.container('c1').address)
          assert.equal(route?.['dev'], device)
          const names = (await host.ipJson('link')).map(({ ifname }) => String(ifname))
          const tunnels = names.filter((name) => name.startsWith('flannel') && name !== device)
          assert.deepEqual(
            tunnels.filter((name) => !name.startsWith('flannel-v6')),
            [],
          )
        }
      })
    }
    const goOn = async () => await Promise.all(connections.map((connection) => connection.answers()))
    const kept = async (host: Host): Promise<string> => {
      const { conditions } = await status(host)
      return conditions.find(({ code }: { code: string }) => code === 'address-kept')?.text ?? ''
    }
    const toldOf = (addresses: readonly string[]) =>
      new RegExp(`: ${addresses.map((address) => `${address} \\(\\d+ sockets\\)`).join(', ')}$`)

    it('live on after it is gone: the address stays on lo', async () => {
      const there = h2.container('c1')
      // biome-ignore lint/suspicious/noExplicitAny: the shape is iproute2's
      const theirs: any[] = (await there.ipJson('address', 'show', 'dev', 'eth0', 'scope', 'global'))[0].addr_info
      own = (await h1.subnetEnv()).families.map(({ subnet }) => networkAddress(subnet as Cidr)).sort()
      assert.equal(own.length, families.length)
      for (const address of own) {
        const to: string = theirs.find(({ local }) => local.includes(':') === address.includes(':')).local
        await echo(lab, there, to, PORT)
        await echo(lab, h1, address, OWN_PORT)
        const out = await HeldConnection.open(lab, h1, { address: to, port: PORT })
        // The kernel has chosen it: so it is with whatever a host does to containers of others.
        assert.equal(await out.source(), address)
        connections.push(out, await HeldConnection.open(lab, there, { address, port: OWN_PORT }))
      }
      for (const { subnet } of (await h2.subnetEnv()).families)
        await echo(lab, h2, networkAddress(subnet as Cidr), OWN_PORT)
      await changed(HOST_GW, 'eth0')
      await goOn()
      assert.deepEqual(await addressesOn(h1, 'lo'), own)
      await until(10_000, 'it is told', async () => assert.match(await kept(h1), toldOf(own)))
      // Of IPv6 it is the anycast address of the bridge's subnet, too, which takes no new connections.
      for (const address of own.filter((each) => !each.includes(':')))
        await HeldConnection.open(lab, there, { address, port: OWN_PORT })
      // Nothing new is sent from it.
      const later = await HeldConnection.open(lab, h1, { address: there.address, port: PORT })
      assert.equal(await later.source(), h1.address)
      await later.close()
    })

    it('is given up when the last socket ends', async () => {
      assert.equal((await addressesOn(h2, 'lo')).length, families.length)
      await h2.exec(['sh', '-c', `kill $(ss -Hltnp 'sport = :${OWN_PORT}' | grep -o 'pid=[0-9]*' | tr -d a-z=)`])
      await until(20_000, 'lo is empty', async () => assert.deepEqual(await addressesOn(h2, 'lo'), []))
      assert.equal(await kept(h2), '')
    })

    it('comes back when somebody takes it away, and survives the daemon', async () => {
      const [address = ''] = own
      await h1.ip('address', 'delete', `${address}/32`, 'dev', 'lo')
      await until(1_000, 'healed', async () => assert.deepEqual(await addressesOn(h1, 'lo'), own))
      await h1.daemon?.kill()
      await startDaemon(h1, options)
      await ready(h1)
      await until(10_000, 'it is told again', async () => assert.match(await kept(h1), toldOf(own)))
      assert.deepEqual(await addressesOn(h1, 'lo'), own)
      await goOn()
      const { stdout } = await flanneld(h1, ['plan'], options)
      assert.match(stdout, /^# nothing to change$/m)
    })

    // Of IPv6 the kernel refuses a nexthop whose gateway a route of the other way leads to.
    if (families.length === 1)
      it('goes to the device of another way that has it, and on to the next', async () => {
        await changed(VXLAN, 'flannel.1')
        await goOn()
        await until(5_000, 'lo is empty', async () => assert.deepEqual(await addressesOn(h1, 'lo'), []))
        await changed(OTHER_VNI, 'flannel.7')
        await goOn()
        assert.deepEqual(await addressesOn(h1, 'lo'), [])
        await changed(HOST_GW, 'eth0')
        await goOn()
        assert.deepEqual(await addressesOn(h1, 'lo'), own)
      })

    it('goes with cleanup', async () => {
      await h1.daemon?.stop()
      const { code, stdout } = await flanneld(h1, ['cleanup'], options)
      assert.equal(code, 0, stdout)
      const removed = [...stdout.matchAll(/^ip address delete (\S+)\/\d+ dev lo$/gm)].map(([, address]) => address)
      assert.deepEqual(removed.sort(), own)
      assert.deepEqual(await addressesOn(h1, 'lo'), [])
    })
  })
