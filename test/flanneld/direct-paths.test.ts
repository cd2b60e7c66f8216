import assert from 'node:assert/strict'
import { DirectPaths } from '../../flanneld/host/direct-paths.ts'
import type { NeighbourState } from '../../kernel/host.ts'
import type { IpAddr } from '../../lib/address.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import type { Lease } from '../../subnet/types.ts'
import { lease, vxlanPath } from '../backends/world.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'

const near = '192.168.64.12' as IpAddr
const far = '192.168.65.13' as IpAddr

/** A host on 192.168.64.0/24 (eth0) whose other routes have a gateway; `asked` records what it resolves. */
class FakeHost {
  readonly asked: IpAddr[] = []
  readonly lookups: IpAddr[] = []
  readonly states: NeighbourState[] = []
  device = 'eth0'

  async routesTo(addresses: readonly IpAddr[]) {
    this.lookups.push(...addresses)
    const source = '192.168.64.11' as IpAddr
    const gateway = '192.168.64.1' as IpAddr
    return addresses.map((address) =>
      address.startsWith('192.168.64.') ? { device: this.device, source } : { device: this.device, source, gateway },
    )
  }

  askNeighbour(_device: string, address: IpAddr): void {
    this.asked.push(address)
  }

  async neighbourStates(device: string): Promise<readonly NeighbourState[]> {
    return this.states.filter((state) => state.device === device)
  }
}

function state(address: IpAddr, what: NeighbourState['state']): NeighbourState {
  return { device: 'eth0', address, state: what, mac: undefined }
}

/** One peer for each of these addresses. */
function peersAt(...addresses: readonly string[]): PersistentMap<Lease> {
  return PersistentMap.from(addresses.map((address, index) => peerAt(index, address)))
}

function peerAt(index: number, address: string): [string, Lease] {
  const peer = lease(`10.5.${index}.0/24 ${address}`, vxlanPath('02:00:00:00:00:12'))
  return [peer.id, peer]
}

async function start() {
  const clock = new VirtualClock()
  const host = new FakeHost()
  const paths = new DirectPaths({ port: host, clock })
  const end = new AbortController()
  const running = paths.run(end.signal)
  const answered = async (address: IpAddr) => (await paths.resolve(peersAt(near, far), true)).get(address)?.answered
  const stop = async () => {
    end.abort()
    await running
  }
  return { clock, host, paths, answered, stop }
}

describe('direct paths', () => {
  it('ask for on-link peers only, and believe the answer', async () => {
    const world = await start()
    const reach = await world.paths.resolve(peersAt(near, far), true)
    assert.deepEqual(
      [...reach],
      [
        [near, { onLink: 'eth0', answered: false }],
        [far, { onLink: undefined, answered: false }],
      ],
    )
    await world.clock.advance(20)
    assert.deepEqual(world.host.asked, [near])
    world.paths.onNeighbourState(state(near, 'answered'))
    assert.equal(await world.answered(near), true)
    await world.clock.advance(120_000)
    assert.deepEqual(world.host.asked, [near])
    await world.stop()
  })

  it('count what the kernel has resolved already, so that a restart changes nothing', async () => {
    const world = await start()
    world.host.states.push(state(near, 'answered'))
    assert.equal(await world.answered(near), true)
    await world.clock.advance(10_000)
    assert.deepEqual(world.host.asked, [])
    await world.stop()
  })

  it('stay direct through a short failure, and are left after 30 seconds of it', async () => {
    const world = await start()
    await world.answered(near)
    world.paths.onNeighbourState(state(near, 'answered'))
    world.paths.onNeighbourState(state(near, 'failed'))
    await world.clock.advance(20_000)
    assert.equal(await world.answered(near), true)
    world.paths.onNeighbourState(state(near, 'answered'))
    await world.clock.advance(60_000)
    assert.equal(await world.answered(near), true)
    world.paths.onNeighbourState(state(near, 'failed'))
    await world.clock.advance(31_000)
    assert.equal(await world.answered(near), false)
    await world.stop()
  })

  it('ask ever more rarely where nobody answers, and name it after ten seconds', async () => {
    const world = await start()
    await world.answered(near)
    await world.clock.advance(5_000)
    assert.deepEqual(world.paths.silent(), [])
    await world.clock.advance(6_000)
    assert.deepEqual(world.paths.silent(), [near])
    const before = world.host.asked.length
    await world.clock.advance(600_000)
    assert.ok(world.host.asked.length - before <= 15, `asked ${world.host.asked.length - before} times in 10 minutes`)
    await world.stop()
  })

  it('have at most 64 questions open, and go on as soon as one is answered', async () => {
    const world = await start()
    const many = peersAt(...Array.from({ length: 200 }, (_unused, index) => `192.168.64.${index + 20}`))
    await world.paths.resolve(many, true)
    await world.clock.advance(20)
    assert.equal(world.host.asked.length, 64)
    for (const address of [...world.host.asked]) world.paths.onNeighbourState(state(address, 'answered'))
    await settleTasks()
    assert.equal(world.host.asked.length, 128)
    await world.stop()
  })

  it('are looked up again only when the routes of the host have changed', async () => {
    const world = await start()
    await world.answered(near)
    await world.answered(near)
    assert.equal(world.host.lookups.length, 2)
    world.host.device = 'eth1'
    world.paths.routesChanged()
    const reach = await world.paths.resolve(peersAt(near), true)
    assert.deepEqual(reach.get(near), { onLink: 'eth1', answered: false })
    await world.stop()
  })

  it('share with the last answer what has not changed', async () => {
    const world = await start()
    const peers = peersAt(near, far)
    const first = await world.paths.resolve(peers, true)
    assert.equal(await world.paths.resolve(peers, true), first)
    world.paths.onNeighbourState(state(near, 'answered'))
    const second = await world.paths.resolve(peers, true)
    assert.equal(second.get(far), first.get(far))
    assert.deepEqual([first.get(near)?.answered, second.get(near)?.answered], [false, true])
    await world.stop()
  })

  it('are forgotten with the last peer that has the address, and not before', async () => {
    const world = await start()
    const [, peer] = peerAt(0, near)
    const one = PersistentMap.from([[peer.id, peer]])
    await world.paths.resolve(one, true)
    world.paths.onNeighbourState(state(near, 'answered'))
    // The node takes another subnet: the new lease comes before the old one goes, or with it.
    const other = peerAt(7, near)
    const both = one.patched([], [other])
    await world.paths.resolve(both, true)
    const moved = await world.paths.resolve(both.patched([peer.id], []), true)
    assert.deepEqual([...moved], [[near, { onLink: 'eth0', answered: true }]])
    const back = await world.paths.resolve(one, true)
    assert.deepEqual([...back], [[near, { onLink: 'eth0', answered: true }]])
    assert.equal(world.host.lookups.length, 1)
    assert.deepEqual([...(await world.paths.resolve(new Map(), true))], [])
    assert.deepEqual([...(await world.paths.resolve(one, true))], [[near, { onLink: 'eth0', answered: false }]])
    await world.stop()
  })
})
