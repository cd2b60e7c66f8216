import assert from 'node:assert/strict'
import type { ObjectKind } from '../../../kernel/objects.ts'
import type { Cidr, Family, IpAddr } from '../../../lib/address.ts'
import type { SimulatedNode } from '../../simulation/node.ts'
import type { Scenario } from '../../simulation/scenario.ts'
import { World } from '../../simulation/world.ts'

const STEP_MS = 100
const scenario: Scenario = {
  backend: 'vxlan',
  families: [4],
  isInside: false,
  hasSecond: false,
  hasGuard: true,
  masquerade: 'no',
  hasFlannel: false,
  reversePath: '1',
  hasRack: false,
  isRunning: true,
  seed: 7,
}
const NETWORKS: Readonly<Record<Family, object>> = {
  4: { Network: '10.64.0.0/12' },
  6: { EnableIPv6: true, IPv6Network: 'fd00:64::/48', IPv6SubnetLen: 64 },
}

/** Simulated nodes, looked at every few milliseconds while their backend changes. */
class ChangingWorld {
  readonly world: World
  readonly #families: readonly Family[]
  #revision = 100
  #apart: SimulatedNode | undefined

  constructor(families: readonly Family[]) {
    this.#families = families
    this.world = new World({ ...scenario, families })
  }

  /** Moves a host to another segment, behind a gateway: nobody expects to reach it until `expectAll`. */
  setApart(node: SimulatedNode): void {
    this.#apart = node
    for (const other of this.world.nodes)
      if (other !== node)
        for (const pair of [
          [node, other],
          [other, node],
        ] as const) {
          const [{ host }, to] = pair
          const dst = `${to.host.addresses[0]}/32` as Cidr
          const route = {
            kind: 'route',
            family: 4,
            dst,
            metric: 0,
            type: 'unicast',
            device: 'eth0',
            protocol: 16,
          } as const
          host.put({ ...route, via: '192.0.2.254' as IpAddr }, 'the operator')
        }
  }

  /** From now on all are to reach each other again. */
  expectAll(): void {
    this.#apart = undefined
  }

  async begin(): Promise<void> {
    for (const node of this.world.nodes) node.start()
    await this.world.clock.advance(20_000)
    this.#look('at the start')
  }

  configure(Backend: object): void {
    this.#revision += 1
    const text = JSON.stringify({ ...Object.assign({}, ...this.#families.map((family) => NETWORKS[family])), Backend })
    for (const { config } of this.world.clusters)
      config.set({ text, revision: String(this.#revision), origin: 'the test' })
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      await this.world.clock.advance(STEP_MS)
      this.#look(`after ${passed} ms`)
    }
  }

  /** Refuses work of this kind to one host, from now on. */
  refuse(place: number, kind: ObjectKind, verb: 'create' | 'update'): void {
    this.world.node(place).host.kernel.fault = (call) =>
      call.kind === kind && call.verb === verb ? { code: 'ENOBUFS' } : undefined
  }

  allow(place: number): void {
    this.world.node(place).host.kernel.fault = () => undefined
  }

  /** How often each of these hosts gives a peer another route, from now on. */
  countMoves(places: readonly number[]): readonly number[] {
    const moves = places.map(() => 0)
    for (const [index, place] of places.entries()) {
      this.world.node(place).host.kernel.fault = ({ kind, verb }) => {
        if (kind === 'route' && verb === 'update') moves[index] = (moves[index] ?? 0) + 1
        return undefined
      }
    }
    return moves
  }

  /** By which devices one host reaches its peers. */
  devicesOf(place: number): readonly (string | undefined)[] {
    const { host, maker } = this.world.node(place)
    const routes = host.routes().filter((route) => host.kernel.makers.of(route) === maker)
    return [...new Set(routes.map(({ device }) => device))].sort()
  }

  /** Names of the devices and the device to each peer, of every host. */
  assertAtRest(devices: readonly string[], by: readonly string[]): void {
    for (const [place, node] of this.world.nodes.entries()) {
      assert.deepEqual([node.faults, node.notReady], [[], []])
      const names = node.host.links().flatMap(({ name }) => (name === 'eth0' ? [] : [name]))
      assert.deepEqual(names.sort(), devices)
      assert.deepEqual(this.devicesOf(place), by)
      for (const kind of ['probe-route', 'probe-rule'] as const) assert.deepEqual(node.host.kernel.all(kind), [])
      const lease = [...node.cluster.table.snapshot().leases.values()].find((one) => one.node === node.nodeId)
      // A single way is said in flannel's words, unless these lack its port.
      const said = lease?.accepts.filter(({ port }) => port === undefined || lease.accepts.length > 1)
      assert.deepEqual([said, lease?.sends], [[], undefined])
    }
  }

  #look(when: string): void {
    for (const [from, to, family] of this.world.pairs()) {
      if (this.#apart !== undefined && [from, to].includes(this.#apart)) continue
      const lost = this.world.lost(from, to, family)
      if (lost === undefined) continue
      const place = (node: typeof from) => this.world.placeOf(node)
      assert.fail(`${when}: ${place(from)} has no way to ${place(to)} in IPv${family}: ${lost}`)
    }
  }
}

describe('simulated nodes that change their backend', function () {
  this.timeout(60_000)
  let changing: ChangingWorld

  const start = async (families: readonly Family[]) => {
    changing = new ChangingWorld(families)
    await changing.begin()
  }

  afterEach(() => changing.world.close())

  const cases: readonly [string, readonly Family[], object, readonly string[], readonly string[]][] = [
    ['to another VNI', [4], { Type: 'vxlan', VNI: 7 }, ['flannel.7'], ['flannel.7']],
    ['to host-gw in both families', [4, 6], { Type: 'host-gw' }, [], ['eth0']],
  ]
  for (const [title, families, backend, devices, by] of cases) {
    it(`${title} have a way to each other all the time, and are done within seconds`, async () => {
      await start(families)
      changing.configure(backend)
      await changing.pass(8_000)
      changing.assertAtRest(devices, by)
    })
  }

  it('go from host-gw to ipip, to udp in the kernel and back by vxlan, with a way to each other all the time', async function () {
    this.timeout(120_000)
    await start([4])
    const steps: readonly [object, readonly string[], readonly string[]][] = [
      [{ Type: 'host-gw' }, [], ['eth0']],
      [{ Type: 'ipip' }, ['flannel.ipip'], ['flannel.ipip']],
      [{ Type: 'vxlan' }, ['flannel.1'], ['flannel.1']],
      [{ Type: 'udp', Engine: 'kernel' }, ['flannel0'], ['flannel0']],
      [{ Type: 'vxlan' }, ['flannel.1'], ['flannel.1']],
      [{ Type: 'ipip' }, ['flannel.ipip'], ['flannel.ipip']],
    ]
    for (const [backend, devices, by] of steps) {
      changing.configure(backend)
      await changing.pass(8_000)
      changing.assertAtRest(devices, by)
    }
  })

  /** Ports of all tunnels, however they are made. */
  const ports = () =>
    changing.world.hosts
      .flatMap((host) => host.links())
      .flatMap(({ driver }) => {
        if (driver?.type === 'vxlan') return [driver.port]
        return driver?.type === 'ipip' && driver.encapsulation !== undefined ? [driver.encapsulation.port] : []
      })

  it('go to another port of vxlan and back, by a second device beside the first', async () => {
    await start([4, 6])
    const seconds = ['flannel-1', 'flannel-v6-1']
    changing.configure({ Type: 'vxlan', Port: 4789 })
    await changing.pass(8_000)
    changing.assertAtRest(seconds, seconds)
    assert.deepEqual([...new Set(ports())], [4789])
    for (const node of changing.world.nodes) {
      node.kill()
      node.start()
    }
    const devices = changing.world.hosts.flatMap((host) => host.links().map((link) => [host, link.name] as const))
    await changing.pass(8_000)
    // They stand as they stood, and nobody has made one anew.
    changing.assertAtRest(seconds, seconds)
    assert.equal(changing.world.hosts.flatMap((host) => host.links()).length, devices.length)
    changing.configure({ Type: 'vxlan' })
    await changing.pass(8_000)
    changing.assertAtRest(['flannel-v6.1', 'flannel.1'], ['flannel-v6.1', 'flannel.1'])
    assert.deepEqual([...new Set(ports())], [8472])
  })

  it('go to a second and a third port within a second', async () => {
    await start([4])
    changing.configure({ Type: 'vxlan', Port: 4789 })
    await changing.pass(700)
    changing.configure({ Type: 'vxlan', Port: 4790 })
    await changing.pass(10_000)
    assert.deepEqual([...new Set(ports())], [4790])
  })

  it('go between ipip, udp in the kernel and its ports, with one of the two devices bound to the uplink', async function () {
    this.timeout(120_000)
    await start([4])
    const steps: readonly [object, string, string | undefined][] = [
      [{ Type: 'ipip' }, 'flannel.ipip', undefined],
      [{ Type: 'udp', Engine: 'kernel' }, 'flannel1', 'eth0'],
      [{ Type: 'udp', Engine: 'kernel', Port: 9000 }, 'flannel0', undefined],
      [{ Type: 'ipip' }, 'flannel-ipip', 'eth0'],
      [{ Type: 'vxlan' }, 'flannel.1', 'eth0'],
    ]
    for (const [backend, device, underlay] of steps) {
      changing.configure(backend)
      await changing.pass(8_000)
      changing.assertAtRest([device], [device])
      const made = changing.world.hosts.flatMap((host) => host.links().filter(({ name }) => name === device))
      for (const { driver } of made) assert.equal('underlay' in driver ? driver.underlay : undefined, underlay)
    }
    assert.deepEqual(
      changing.world.hosts.flatMap((host) => host.kernel.all('fou-port')),
      [],
    )
  })

  for (const ms of [100, 900]) {
    it(`go back ${ms} ms later, and on to a third one`, async () => {
      await start([4])
      changing.configure({ Type: 'host-gw' })
      await changing.pass(ms)
      changing.configure({ Type: 'vxlan' })
      await changing.pass(ms)
      changing.configure({ Type: 'vxlan', VNI: 7 })
      await changing.pass(8_000)
      changing.assertAtRest(['flannel.7'], ['flannel.7'])
    })
  }

  it('go on where they were when they are killed at any moment', async () => {
    await start([4])
    for (let kill = 1; kill <= 4; kill += 1) {
      // Always another one: what comes back again and again is held.
      changing.configure({ Type: 'vxlan', VNI: 10 + kill })
      await changing.pass(kill * 250)
      const node = changing.world.node(kill)
      node.kill()
      node.start()
      await changing.pass(kill * 150)
    }
    changing.configure({ Type: 'host-gw' })
    await changing.pass(8_000)
    changing.assertAtRest([], ['eth0'])
  })

  it('go on without the old backend where a host cannot have it any more after it was restarted half way', async () => {
    await start([4])
    changing.configure({ Type: 'udp', Engine: 'kernel' })
    await changing.pass(8_000)
    changing.configure({ Type: 'vxlan' })
    await changing.pass(300)
    const node = changing.world.node(1)
    node.kill()
    node.host.hasFou = false
    for (const { name } of node.host.links()) if (name !== 'eth0') node.host.kernel.delete(`link ${name}`)
    node.start()
    // It has lost what its peers still sent by.
    await changing.world.clock.advance(2_000)
    await changing.pass(8_000)
    changing.assertAtRest(['flannel.1'], ['flannel.1'])
  })

  it('give up a backend between two others that a host cannot have any more after it was restarted', async () => {
    await start([4])
    const node = changing.world.node(1)
    changing.configure({ Type: 'udp', Engine: 'kernel' })
    await changing.pass(300)
    changing.configure({ Type: 'host-gw' })
    await changing.pass(100)
    node.kill()
    node.host.hasFou = false
    node.start()
    await changing.pass(10_000)
    changing.assertAtRest([], ['eth0'])
  })

  it('go to a corrected configuration instead of one that no host can have, also where one was restarted in between', async () => {
    await start([4])
    for (const { host } of changing.world.nodes) host.hasFou = false
    changing.configure({ Type: 'udp', Engine: 'kernel' })
    await changing.pass(1_000)
    const node = changing.world.node(2)
    assert.match(node.conditions.join(), /cannot change from vxlan to udp on this host/)
    node.kill()
    changing.configure({ Type: 'ipip' })
    await changing.pass(500)
    node.start()
    await changing.pass(10_000)
    changing.assertAtRest(['flannel.ipip'], ['flannel.ipip'])
  })

  it('go from host-gw to vxlan, which reaches a host on another segment, too', async () => {
    await start([4])
    changing.configure({ Type: 'host-gw' })
    await changing.pass(8_000)
    const apart = changing.world.node(2)
    changing.setApart(apart)
    await changing.pass(2_000)
    assert.notEqual(changing.world.lost(changing.world.node(0), apart, 4), undefined)
    changing.configure({ Type: 'vxlan' })
    await changing.pass(1_500)
    changing.expectAll()
    await changing.pass(6_500)
    changing.assertAtRest(['flannel.1'], ['flannel.1'])
  })

  it('keep vxlan for a host on another segment, and say so', async () => {
    await start([4])
    changing.setApart(changing.world.node(2))
    changing.expectAll()
    changing.configure({ Type: 'host-gw' })
    await changing.pass(10_000)
    const [near, far] = [changing.world.node(0), changing.world.node(2)]
    const devices = near.host.routes().flatMap(({ dst, device }) => {
      const to = [changing.world.node(1), far].findIndex((node) => node.subnets.get(4) === dst)
      return to < 0 ? [] : [[to, device]]
    })
    assert.deepEqual(devices.sort(), [
      [0, 'eth0'],
      [1, 'flannel.1'],
    ])
  })

  it('wait no longer by order, and one that comes later follows', async () => {
    await start([4])
    const [near, other, late] = [changing.world.node(0), changing.world.node(1), changing.world.node(2)]
    await late.stop()
    assert.equal(near.finishChange(), 'no change')
    changing.configure({ Type: 'host-gw' })
    await changing.pass(5_000)
    assert.deepEqual([near.finishChange(), other.finishChange()], ['finished', 'finished'])
    await changing.world.clock.advance(1_000)
    const tunnels = [near, other].flatMap(({ host }) => host.links().filter(({ name }) => name === 'flannel.1'))
    assert.deepEqual(tunnels, [])
    late.start()
    await changing.world.clock.advance(12_000)
    await changing.pass(1_000)
    changing.assertAtRest([], ['eth0'])
  })

  it('wait for one that does not run, and move it when it does, each peer once', async () => {
    await start([4])
    const node = changing.world.node(2)
    await node.stop()
    changing.configure({ Type: 'host-gw' })
    await changing.pass(10_000)
    assert.deepEqual(
      changing.world
        .node(0)
        .host.links()
        .some(({ name }) => name === 'flannel.1'),
      true,
    )
    const moves = changing.countMoves([0, 1])
    // When the others are done it still says that it receives by both.
    node.connection.delayMs = 1_000
    node.start()
    await changing.pass(20_000)
    changing.assertAtRest([], ['eth0'])
    // No peer goes back for a moment when the old way ends, whoever still accepts it.
    assert.deepEqual(moves, [1, 1])
  })

  for (const ms of [0, 400]) {
    it(`keep the routes that they have over a restart without the store, ${ms} ms after one has given up the old backend`, async () => {
      await start([4])
      // Its record of the leases is of before the change.
      await changing.world.clock.advance(40_000)
      const node = changing.world.node(0)
      changing.configure({ Type: 'host-gw' })
      const givesUp = () => JSON.parse(node.disk.text('ways.json') ?? '{}').held?.[0]?.sends === false
      while (!givesUp()) await changing.pass(20)
      await changing.world.clock.advance(ms)
      node.connection.cut = true
      node.kill()
      await changing.world.clock.advance(5_000)
      node.start()
      await changing.pass(15_000)
      node.connection.cut = false
      await changing.pass(20_000)
      changing.assertAtRest([], ['eth0'])
    })
  }

  it('go to a third backend only after the first has ended where the two cannot be beside each other, however soon it comes', async () => {
    await start([4])
    // Plans are under way while the configuration changes twice.
    for (const { host } of changing.world.nodes) host.kernelDelayMs = 150
    changing.configure({ Type: 'vxlan', Learning: true })
    await changing.world.clock.advance(20)
    changing.configure({ Type: 'host-gw' })
    await changing.world.clock.advance(5)
    changing.configure({ Type: 'vxlan', GBP: true })
    await changing.pass(30_000)
    for (const { host } of changing.world.nodes) host.kernelDelayMs = 0
    changing.assertAtRest(['flannel.1'], ['flannel.1'])
  })

  it('end the old backend by order only when the store has shown it', async () => {
    await start([4])
    const [near, other] = [changing.world.node(0), changing.world.node(1)]
    changing.configure({ Type: 'host-gw' })
    // The other one still sends by the old backend.
    changing.refuse(1, 'route', 'update')
    await changing.pass(3_000)
    near.connection.cut = true
    assert.equal(near.finishChange(), 'finished')
    await changing.pass(10_000)
    assert(near.host.links().some(({ name }) => name === 'flannel.1'))
    changing.allow(1)
    near.connection.cut = false
    await changing.world.clock.advance(60_000)
    await changing.pass(1_000)
    changing.assertAtRest([], ['eth0'])
    assert.equal(other.finishChange(), 'no change')
  })

  it('go on, and say so, after a restart while one is waited for', async () => {
    await start([4])
    await changing.world.node(2).stop()
    changing.configure({ Type: 'host-gw' })
    await changing.pass(5_000)
    const node = changing.world.node(0)
    node.kill()
    node.start()
    await changing.pass(10_000)
    assert.match(node.conditions.join(), /the backend changes from vxlan to host-gw/)
  })

  it('move nobody by probes that the main table has carried', async () => {
    await start([4])
    changing.refuse(0, 'probe-route', 'create')
    changing.configure({ Type: 'host-gw' })
    await changing.pass(8_000)
    assert.deepEqual(changing.devicesOf(0), ['flannel.1'])
    changing.allow(0)
    await changing.pass(40_000)
    changing.assertAtRest([], ['eth0'])
  })
  it('leave the old backend where it is while one of them cannot change the routes to its peers', async () => {
    await start([4])
    changing.refuse(0, 'route', 'update')
    changing.configure({ Type: 'host-gw' })
    await changing.pass(12_000)
    assert.deepEqual(changing.devicesOf(0), ['flannel.1'])
    for (const { host } of changing.world.nodes) assert(host.links().some(({ name }) => name === 'flannel.1'))
    changing.allow(0)
    await changing.pass(40_000)
    changing.assertAtRest([], ['eth0'])
  })
})
