import assert from 'node:assert/strict'
import { type KernelObject, keyOf } from '../../kernel/objects.ts'
import { type Cidr, contains, FAMILIES } from '../../lib/address.ts'
import { goodConnection } from '../fakes/lease-store.ts'
import { FLANNEL, UPLINK } from './host.ts'
import type { Invariants } from './invariants.ts'
import { whyNotReady } from './invariants.ts'
import type { SimulatedNode } from './node.ts'
import { NETWORKS, needsLooseUplink, overlayDevices } from './scenario.ts'
import { STRANGE_LEASES, STRANGER } from './strange-leases.ts'
import type { World } from './world.ts'

/** With a disk that takes nothing all the rest comes to rest, too. */
const WITHOUT_DISK_MS = 70_000
/** Renewals, audits and what else comes slowly have happened by then. */
const REST_MS = 120_000
const TWIN_MS = 20_000
const LOOK_MS = 3_000

/** All faults end, and everything is as it would be if nothing had ever happened. */
export async function comeToRest(world: World, invariants: Invariants): Promise<void> {
  for (const { connection, host } of world.nodes) {
    Object.assign(connection, goodConnection())
    host.kernel.fault = () => undefined
    host.kernelDelayMs = 0
  }
  world.configure(0)
  removeDuplicates(world)
  for (const node of world.nodes) node.killAt(Number.POSITIVE_INFINITY, false)
  for (const node of world.nodes) node.start()
  await invariants.pass(1)
  await advance(world, invariants, WITHOUT_DISK_MS)
  world.mayHaveOthers = false
  for (const node of world.nodes) assertReady(world, node)
  assertReachable(world)
  for (const { disk } of world.nodes) Object.assign(disk, { full: false, delayMs: 0 })
  await advance(world, invariants, REST_MS)
  for (const node of world.nodes) {
    assertReady(world, node)
    assertLease(world, node)
    assertRecord(world, node)
  }
  assertReachable(world)
  assertNoLeftovers(world)
}

/** What a daemon makes of a host on which nothing of ours is yet is what is there now. */
export async function assertAsFromScratch(world: World, node: SimulatedNode): Promise<void> {
  const { host, maker } = node
  const place = world.placeOf(node)
  // A device that got its name beside another one would get the first name now.
  const seconds = FAMILIES.flatMap((family) =>
    overlayDevices(world.scenario, world.clusters.indexOf(node.cluster), family).slice(1),
  )
  if (seconds.some((name) => host.kernel.get(`link ${name}`) !== undefined)) return
  // What flannel has made and is as it is wanted stays flannel's, and is ours when it is made anew.
  const adopted = new Set(host.madeBy(FLANNEL).map(keyOf))
  const textsNow = () => textsOf(madeBy(node, world).filter((object) => !adopted.has(keyOf(object))))
  const before = textsNow()
  node.kill()
  for (const object of host.madeBy(maker)) host.kernel.delete(keyOf(object))
  node.start()
  await world.clock.advance(TWIN_MS)
  assertReady(world, node)
  assert.deepEqual(textsNow(), before, `the kernel of node ${place} is not as one made anew`)
}

/** But for what was given back, which is as the host had it, and for settings that other programs may rely on by now. */
function madeBy({ host, maker }: SimulatedNode, { scenario }: World): readonly KernelObject[] {
  const path = `net/ipv4/conf/${UPLINK}/rp_filter`
  const isOwn = (one: KernelObject) =>
    one.kind === 'sysctl' &&
    (one.path.startsWith('net/bridge/') || (one.path === path && one.value === scenario.reversePath))
  return host.madeBy(maker).filter((one) => !isOwn(one))
}

/** A service manager starts again what has ended. */
async function advance(world: World, invariants: Invariants, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= LOOK_MS) {
    await world.clock.advance(Math.min(left, LOOK_MS))
    invariants.look()
    for (const node of world.nodes) {
      node.start()
      // What was changed too often is held, if nobody says that it is meant.
      node.useConfiguration()
    }
  }
}

/** An operator has removed what names a node's own address or hardware address: which of two counts depends on their ages. */
function removeDuplicates(world: World): void {
  const { table } = world.node(0).cluster
  const nobody = { address: '192.0.2.250' as never, mac: '02:bb:00:00:00:fe', subnets: new Map() }
  const harmless = new Set(STRANGE_LEASES.flatMap((make) => make(nobody)?.id ?? []))
  for (const { id, node, families } of table.snapshot().leases.values()) {
    const isStrange = [...families.values()].some(({ publicIp }) => publicIp.startsWith('198.51.100.'))
    // Also one that could not write down who it is, and is another one now.
    const isNode = node !== '' && node !== STRANGER
    if (!isNode && (!isStrange || !harmless.has(id) || id === '10.64.249.0-24')) table.delete(id)
  }
}

function assertReady(world: World, node: SimulatedNode): void {
  const place = world.placeOf(node)
  assert.deepEqual(node.notReady, [], `node ${place} is not ready`)
  assert.equal(whyNotReady(node, world), undefined, `node ${place} says that it is ready`)
}

function assertReachable(world: World): void {
  for (const [from, to, family] of world.pairs()) {
    if (world.isTaken(from, to, family) || world.isTaken(to, from, family)) continue
    const lost = world.lost(from, to, family)
    const who = `${world.placeOf(from)} does not reach ${world.placeOf(to)} by IPv${family}`
    assert.equal(lost, undefined, `${who}: ${lost}; ${JSON.stringify(from.conditions)}`)
  }
}

/** It says what is so. */
function assertLease(world: World, node: SimulatedNode): void {
  const place = world.placeOf(node)
  const all = [...node.cluster.table.snapshot().leases.values()]
  const own = all.filter((one) => one.node === node.nodeId)
  assert.equal(own.length, 1, `node ${place} has ${own.length} leases`)
  for (const [family, { publicIp, subnet }] of own[0]?.families ?? []) {
    assert.ok(node.host.addresses.includes(publicIp), `the lease of node ${place} names ${publicIp}`)
    const others = all.filter((one) => one !== own[0] && one.families.get(family)?.subnet === subnet)
    assert.equal(others.length, 0, `${subnet} is used twice`)
    const data = own[0]?.primary.data.get(family) as { VtepMAC?: string } | undefined
    const devices = node.host.links().flatMap(({ mac, driver }) => (driver.type === 'vxlan' ? mac : []))
    if (data?.VtepMAC !== undefined)
      assert.ok(
        devices.some((mac) => mac === data.VtepMAC),
        `the lease of node ${place} names ${data.VtepMAC}`,
      )
  }
}

/** What the next start would call its own is what this one has made. */
function assertRecord(world: World, node: SimulatedNode): void {
  const { kernel } = node.host
  const devices = node.host.links().flatMap((link) => (kernel.makers.of(link) === node.maker ? link.name : []))
  // What could not be written down before a kill is nobody's: a start owns less rather than more.
  const isKnown = (name: string) => !node.disk.wasFull || node.recorded.devices.has(name)
  const adopted = node.host.links().flatMap((link) => (kernel.makers.of(link) === FLANNEL ? link.name : []))
  const recorded = [...node.recorded.devices].filter((name) => !adopted.includes(name))
  assert.deepEqual(recorded.sort(), devices.filter(isKnown).sort(), `the record of node ${world.placeOf(node)}`)
  const networks = NETWORKS[world.clusters.indexOf(node.cluster)]
  const used = world.scenario.families.map((family) => networks?.[family])
  assert.deepEqual(node.recorded.networks.map(({ network }) => network).sort(), used.sort(), 'networks on record')
  const path = `net/ipv4/conf/${UPLINK}/rp_filter`
  const setting = kernel.get(`sysctl ${path}`)
  const own = world.scenario.reversePath
  const isChanged = setting?.kind === 'sysctl' && setting.value !== own
  const changed = isChanged && mayBorrow(world, node) ? { [path]: own } : {}
  assert.deepEqual(node.borrowed, changed, `what node ${world.placeOf(node)} has borrowed`)
}

function mayBorrow({ scenario }: World, { cluster }: SimulatedNode): boolean {
  return needsLooseUplink(scenario) && cluster.instance === ''
}

/** Of ours and of flannel there is nothing in a network but what leads to somebody in the store. */
function assertNoLeftovers(world: World): void {
  for (const node of world.nodes) {
    const leased = [...node.cluster.table.snapshot().leases.values()].flatMap((lease) =>
      [...lease.families.values()].map(({ subnet }) => subnet),
    )
    const instance = world.clusters.indexOf(node.cluster)
    const networks = NETWORKS[instance]
    const proxies = world.scenario.backend === 'udp' ? overlayDevices(world.scenario, instance, 4) : []
    for (const route of node.host.routes()) {
      const maker = node.host.kernel.makers.of(route)
      const isInside =
        world.scenario.families.includes(route.family) && contains(networks?.[route.family] as Cidr, route.dst)
      if ((maker !== node.maker && maker !== FLANNEL) || !isInside) continue
      // The userspace engine of udp answers for what is nobody's, by whichever of its devices.
      if (route.dst === networks?.[4] && proxies.includes(route.device ?? '')) continue
      assert.ok(leased.includes(route.dst), `the route to ${route.dst} of ${maker} leads nowhere`)
    }
  }
}

function textsOf(objects: readonly KernelObject[]): readonly string[] {
  return objects.map((object) => JSON.stringify(inOrder(object))).sort()
}

/** The elements of a set have no order. */
function inOrder(object: KernelObject): KernelObject {
  if (object.kind !== 'guard-peer') return object
  const senders = [...object.senders].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
  return { ...object, senders }
}
