import assert from 'node:assert/strict'
import { RECORD } from '../../flanneld/last-known/keep.ts'
import { keyOf } from '../../kernel/objects.ts'
import { PLAIN } from './known-histories.ts'
import { hearsOwnFirst, type SimulatedNode } from './node.ts'
import type { Scenario } from './scenario.ts'
import { World } from './world.ts'

describe('a node of the simulation that hears of its own lease first', () => {
  let world: World
  let node: SimulatedNode
  afterEach(() => world.close())

  /** All is at rest, and one of them has lost its power. */
  async function open(differs: Partial<Scenario> = {}): Promise<void> {
    world = new World({ ...PLAIN, ...differs })
    for (const { host } of world.nodes) host.hasFou = false
    for (const each of world.nodes) each.start()
    await world.clock.advance(40_000)
    const found = world.nodes.find(({ nodeId }) => nodeId !== undefined && hearsOwnFirst(nodeId))
    assert.ok(found !== undefined)
    node = found
    node.kill()
    await world.clock.advance(100)
    for (const object of node.host.madeBy(node.maker)) node.host.kernel.delete(keyOf(object))
  }

  /** It starts, and hears of nobody else. */
  async function startAlone(): Promise<void> {
    node.connection.isUnlisted = true
    node.start()
    await world.clock.advance(3_000)
    assert.ok(node.subnets.size > 0, 'it has told its subnet')
    assert.match(node.notReady.join(), /leases of the other nodes are not known yet/)
  }

  const peersOnRecord = () => JSON.parse(node.disk.text(RECORD) ?? '{}').peers.length

  it('keeps its peers on record, before and after it hears of them', async () => {
    await open()
    assert.equal(peersOnRecord(), 2)
    node.start()
    for (let seconds = 0; seconds < 40; seconds += 1) {
      await world.clock.advance(1_000)
      assert.equal(peersOnRecord(), 2, `after ${seconds} s`)
    }
    assert.deepEqual(node.notReady, [])
  })

  it('uses no other configuration before it hears of the others', async () => {
    await open()
    await startAlone()
    const refused = /not used.*the leases of the other nodes are not known yet/
    const { config } = node.cluster
    const text = JSON.stringify({ ...JSON.parse(config.current?.text ?? ''), Backend: { Type: 'vxlan', MTU: 1300 } })
    config.set({ text, revision: '99', origin: 'the simulation' })
    await world.clock.advance(1_000)
    assert.match(node.conditions.join('\n'), refused)
    node.connection.isUnlisted = false
    await world.clock.advance(60_000)
    assert.doesNotMatch(node.conditions.join('\n'), refused)
  })

  it('goes on where a module of the kernel is missing later', async () => {
    await open()
    await startAlone()
    node.host.kernel.fault = ({ kind, verb }) =>
      kind === 'link' && verb === 'create' ? { code: 'EOPNOTSUPP' } : undefined
    const [link] = node.host.madeBy(node.maker).filter(({ kind }) => kind === 'link')
    assert.ok(link !== undefined)
    node.host.kernel.delete(keyOf(link))
    await world.clock.advance(60_000)
    assert.match(node.notReady.join(), /link flannel/)
    assert.ok(node.running)
  })

  it('leaves addresses of the network that hosts of peers may have out of the way of udp', async () => {
    await open({ backend: 'udp' })
    await startAlone()
    const routes = node.host.madeBy(node.maker).flatMap((object) => (object.kind === 'route' ? [object.dst] : []))
    assert.deepEqual(routes, [])
  })
})
