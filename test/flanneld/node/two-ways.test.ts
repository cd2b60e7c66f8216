import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AnyBackend } from '../../../backends/registry.ts'
import { parseConfiguration } from '../../../flanneld/node/configuration.ts'
import type { WantedWays } from '../../../flanneld/node/ways.ts'
import type { IpAddr } from '../../../lib/address.ts'
import { Latest } from '../../../lib/latest.ts'
import type { ConfigText } from '../../../subnet/types.ts'
import { VirtualClock } from '../../fakes/clock.ts'
import { FakeLeaseTable } from '../../fakes/lease-table.ts'
import { SimulatedHost } from '../../simulation/host.ts'
import { Neighbourhood } from '../../simulation/neighbourhood.ts'
import { SimulatedNode } from '../../simulation/node.ts'

const vxlan = (vni: number) => `{"Network":"10.64.0.0/16","Backend":{"Type":"vxlan","VNI":${vni}}}`
const dual = (vni: number) =>
  `{"Network":"10.64.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:64::/48","Backend":{"Type":"vxlan","VNI":${vni}}}`
const hostGw = '{"Network":"10.64.0.0/16","Backend":{"Type":"host-gw"}}'

/** What one lease in the store says. */
interface Value {
  readonly PublicIP: string
  readonly BackendType: string
  readonly BackendData: { readonly VNI: number; readonly VtepMAC: string }
  readonly Accepts?: readonly Pick<Value, 'BackendType' | 'BackendData'>[]
}

describe('a node with two ways', () => {
  let folder: string
  let clock: VirtualClock
  let table: FakeLeaseTable
  let hosts: readonly SimulatedHost[]
  let nodes: SimulatedNode[]
  let configurations: Latest<ConfigText>[]
  /** Whether the first one shall have the second way beside the first. */
  let wantsSecond: boolean

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'flanneld-ways-'))
    clock = new VirtualClock()
    table = new FakeLeaseTable({ clock })
    hosts = [1, 2, 3].map((number) => new SimulatedHost({ prefixes: new Map([[4, '192.0.2.']]) }, number))
    nodes = []
    wantsSecond = true
  })

  afterEach(async () => {
    for (const node of nodes) await node.stop()
    rmSync(folder, { recursive: true })
  })

  /** One on each host, with these configurations; `second`: what the first one can receive by, too, once it is prepared after so many ms. */
  async function start(configs: readonly string[], second: string, prepareMs = 0): Promise<void> {
    const neighbourhood = new Neighbourhood({ clock, hosts: () => hosts })
    let seed = 0
    const parsed = parseConfiguration(second, 'test')
    const prepare: AnyBackend['prepare'] = async (...args) => {
      await clock.sleep(prepareMs, new AbortController().signal)
      return await parsed.backend.prepare(...args)
    }
    const more = { ...parsed, backend: { ...parsed.backend, prepare } }
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
      return seed / 2 ** 31
    }
    configurations = configs.map(() => new Latest<ConfigText>('configuration'))
    nodes = configurations.map((config, place) => {
      config.set({ text: configs[place], revision: '1', origin: 'test' })
      const wantedWays: WantedWays = (inUse) => (place === 0 && wantsSecond ? [inUse, more] : [inUse])
      const shared = {
        clock,
        table,
        config,
        random,
        folder,
        instance: '',
        guard: false,
        masquerade: false,
        neighbourhood,
        wantedWays,
      }
      return new SimulatedNode(shared, { host: hosts[place] as SimulatedHost, claims: new Map() })
    })
    for (const node of nodes) node.start()
    await clock.advance(20_000)
    for (const node of nodes) assert.deepEqual([node.faults, node.notReady], [[], []])
  }

  const leaseOf = (place: number): readonly [id: string, Value] => {
    const address = `192.0.2.${place + 1}`
    for (const id of table.snapshot().leases.keys()) {
      const value: Value = JSON.parse(table.value(id) ?? '')
      if (value.PublicIP === address) return [id, value]
    }
    assert.fail(`no lease names ${address}`)
  }

  const devicesOf = (place: number) =>
    (hosts[place]?.links() ?? []).map(({ name }) => name).filter((name) => name !== 'eth0')

  /** The device by which one host sends to the subnet of another. */
  const sends = (from: number, to: number) => {
    const subnet = leaseOf(to)[0].replace('-', '/')
    return hosts[from]?.routes().find(({ dst }) => dst === subnet)?.device
  }

  it('receives by both and sends to each peer by the one that this accepts', async () => {
    await start([vxlan(1), vxlan(1), vxlan(7)], vxlan(7))
    assert.deepEqual(devicesOf(0).sort(), ['flannel.1', 'flannel.7'])
    const [, { BackendData, Accepts }] = leaseOf(0)
    assert.deepEqual(
      Accepts?.map((path) => path.BackendData.VNI),
      [1, 7],
    )
    assert.deepEqual(Accepts?.[0]?.BackendData, BackendData)
    assert.deepEqual([leaseOf(1)[1].Accepts, leaseOf(2)[1].Accepts], [undefined, undefined])
    assert.deepEqual([sends(0, 1), sends(1, 0)], ['flannel.1', 'flannel.1'])
    assert.deepEqual([sends(0, 2), sends(2, 0)], ['flannel.7', 'flannel.7'])
    // Two networks on purpose: these have no way in common.
    assert.deepEqual([sends(1, 2), sends(2, 1)], [undefined, undefined])
  })

  it('has ways of different types side by side', async () => {
    await start([vxlan(1), vxlan(1), hostGw], hostGw)
    assert.deepEqual([sends(0, 1), sends(1, 0)], ['flannel.1', 'flannel.1'])
    assert.deepEqual([sends(0, 2), sends(2, 0)], ['eth0', 'eth0'])
    assert.deepEqual(
      leaseOf(0)[1].Accepts?.map((path) => path.BackendType),
      ['vxlan', 'host-gw'],
    )
  })

  it('keeps what belongs to both over a restart, also while one is not prepared', async () => {
    await start([vxlan(1), vxlan(1), vxlan(7)], vxlan(7), 200)
    const [node] = nodes
    await node?.stop()
    node?.start()
    for (let ms = 0; ms < 500; ms += 1) {
      await clock.advance(1)
      assert.deepEqual([sends(0, 1), sends(0, 2)], ['flannel.1', 'flannel.7'], `after ${ms} ms`)
    }
  })

  it('has the families of its lease as long as it has both, where an address of another one appears', async () => {
    wantsSecond = false
    await start([vxlan(1), vxlan(1)], dual(7))
    for (const config of configurations) config.set({ text: dual(1), revision: '2', origin: 'test' })
    await clock.advance(5_000)
    const [before] = leaseOf(0)
    wantsSecond = true
    hosts[0]?.addAddress('192.0.2.77' as IpAddr)
    await clock.advance(5_000)
    assert.deepEqual(devicesOf(0).sort(), ['flannel.1', 'flannel.7'])
    hosts[0]?.addAddress('fd00:9::1' as IpAddr)
    for (const restarts of [false, true]) {
      if (restarts) await nodes[0]?.stop()
      nodes[0]?.start()
      await clock.advance(20_000)
      assert.deepEqual([leaseOf(0)[0], leaseOf(0)[1].Accepts?.length], [before, 2])
    }
    wantsSecond = false
    hosts[0]?.addAddress('192.0.2.78' as IpAddr)
    await clock.advance(20_000)
    const [after, { Accepts }] = leaseOf(0)
    assert.match(after, /&/)
    assert.equal(after.split('&')[0], before)
    assert.equal(Accepts, undefined)
  })

  it('is known by the same data over a restart, also where its devices are gone', async () => {
    await start([vxlan(1), vxlan(1), vxlan(7)], vxlan(7))
    const before = leaseOf(0)
    const [node] = nodes
    await node?.stop()
    for (const device of ['flannel.1', 'flannel.7']) hosts[0]?.kernel.delete(`link ${device}`)
    node?.start()
    await clock.advance(20_000)
    assert.deepEqual(leaseOf(0), before)
    assert.deepEqual([sends(0, 1), sends(0, 2)], ['flannel.1', 'flannel.7'])
  })
})
