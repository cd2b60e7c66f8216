import assert from 'node:assert/strict'
import fc from 'fast-check'
import { DirectPaths } from '../../flanneld/host/direct-paths.ts'
import type { NeighbourState, Path } from '../../kernel/host.ts'
import type { IpAddr } from '../../lib/address.ts'
import { PersistentMap } from '../../lib/persistent-map.ts'
import type { Lease } from '../../subnet/types.ts'
import { lease, vxlanPath } from '../backends/world.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { repeat } from '../long.ts'

const ADDRESSES = [1, 2, 3].map((number) => `192.168.64.${number}` as IpAddr)
const DEVICES = ['eth0', 'eth1'] as const
/** Backoff, and the time for which a neighbour must stay away. */
const REST_MS = 200_000

type Step =
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'resolve' }
  /** Peers have these addresses from now on. */
  | { readonly do: 'peers'; readonly addresses: readonly IpAddr[] }
  /** The route to an address leads there from now on; undefined: by a gateway. */
  | { readonly do: 'route'; readonly address: IpAddr; readonly device: string | undefined }
  /** It answers from now on or does not, and the kernel notices at once or when it is asked. */
  | { readonly do: 'neighbour'; readonly address: IpAddr; readonly answers: boolean; readonly isNoticed: boolean }
  /** Of a link that the peer is not on, or not any more. */
  | { readonly do: 'stray event'; readonly address: IpAddr; readonly state: NeighbourState['state'] }

const address = fc.constantFrom(...ADDRESSES)
const device = fc.constantFrom<string | undefined>(...DEVICES, undefined)
const of = <D extends string>(name: D) => fc.constant(name)
const is = fc.boolean()
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: of('wait'), ms: fc.constantFrom(1, 500, 4_000, 31_000, 70_000) }) },
    { weight: 2, arbitrary: fc.record({ do: of('resolve') }) },
    { weight: 2, arbitrary: fc.record({ do: of('peers'), addresses: fc.subarray([...ADDRESSES]) }) },
    { weight: 2, arbitrary: fc.record({ do: of('route'), address, device }) },
    { weight: 4, arbitrary: fc.record({ do: of('neighbour'), address, answers: is, isNoticed: is }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: of('stray event'),
        address,
        state: fc.constantFrom<NeighbourState['state']>('answered', 'failed'),
      }),
    },
  ),
  { maxLength: 20, size: 'max' },
)

/** Routes and neighbours, and who listens to them. */
class Host {
  readonly clock = new VirtualClock()
  readonly #routes = new Map<IpAddr, string>(ADDRESSES.map((each) => [each, 'eth0'] as const))
  readonly #answering = new Set<IpAddr>()
  readonly #states = new Map<string, NeighbourState>()
  readonly #listeners = new Set<DirectPaths>()
  readonly #end = new AbortController()

  /** What a process makes of this host. */
  open(): DirectPaths {
    const paths = new DirectPaths({ port: this, clock: this.clock })
    this.#listeners.add(paths)
    void paths.run(this.#end.signal)
    return paths
  }

  close(): void {
    this.#end.abort()
  }

  route(address: IpAddr, device: string | undefined): void {
    if (device === undefined) this.#routes.delete(address)
    else this.#routes.set(address, device)
    for (const paths of this.#listeners) paths.routesChanged()
  }

  neighbour(address: IpAddr, answers: boolean, isNoticed: boolean): void {
    if (answers) this.#answering.add(address)
    else this.#answering.delete(address)
    const device = this.#routes.get(address)
    // An entry that has been in use is probed by the kernel itself; one that failed is asked only when somebody sends.
    const isInUse = this.#states.get(`${device} ${address}`)?.state === 'answered'
    if (device !== undefined && (isNoticed || (isInUse && !answers))) this.askNeighbour(device, address)
  }

  tell(state: NeighbourState): void {
    for (const paths of this.#listeners) paths.onNeighbourState(state)
  }

  async routesTo(addresses: readonly IpAddr[]): Promise<readonly Path[]> {
    const source = '192.168.64.11' as IpAddr
    const gateway = '192.168.64.254' as IpAddr
    return addresses.map((each) => {
      const device = this.#routes.get(each)
      return device === undefined ? { device: 'eth0', source, gateway } : { device, source }
    })
  }

  askNeighbour(device: string, address: IpAddr): void {
    const isThere = this.#answering.has(address) && this.#routes.get(address) === device
    const state: NeighbourState = { device, address, state: isThere ? 'answered' : 'failed', mac: undefined }
    this.#states.set(`${device} ${address}`, state)
    void this.clock.sleep(1, this.#end.signal).then(
      () => this.tell(state),
      () => {},
    )
  }

  async neighbourStates(device: string): Promise<readonly NeighbourState[]> {
    return [...this.#states.values()].filter((state) => state.device === device)
  }
}

function peersAt(addresses: readonly IpAddr[]): PersistentMap<Lease> {
  return PersistentMap.from(
    addresses.map((each, index) => {
      const peer = lease(`10.5.${index}.0/24 ${each}`, vxlanPath('02:00:00:00:00:12'))
      return [peer.id, peer]
    }),
  )
}

async function restOf(paths: DirectPaths, host: Host, peers: PersistentMap<Lease>) {
  await paths.resolve(peers, true)
  await host.clock.advance(REST_MS)
  const reach = [...(await paths.resolve(peers, true))].sort(([a], [b]) => (a < b ? -1 : 1))
  return { reach, silent: [...paths.silent()].sort() }
}

describe('direct paths, properties', () => {
  it('come to what a process that has just started says, whatever happened in whatever order', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (history) => {
        const host = new Host()
        try {
          const paths = host.open()
          let peers = peersAt(ADDRESSES)
          for (const step of history) {
            if (step.do === 'wait') await host.clock.advance(step.ms)
            else if (step.do === 'resolve') await paths.resolve(peers, true)
            else if (step.do === 'peers') peers = peersAt(step.addresses)
            else if (step.do === 'route') host.route(step.address, step.device)
            else if (step.do === 'neighbour') host.neighbour(step.address, step.answers, step.isNoticed)
            else host.tell({ device: 'eth9', address: step.address, state: step.state, mac: undefined })
          }
          const found = await restOf(paths, host, peers)
          assert.deepEqual(found, await restOf(host.open(), host, peers))
        } finally {
          host.close()
        }
      }),
      { numRuns: repeat(60, 5_000) },
    )
  }).timeout(repeat(60_000, 600_000))
})
