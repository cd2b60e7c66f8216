import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OwnershipScope } from '../../kernel/desired.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import { Latest } from '../../lib/latest.ts'
import type { ConfigText } from '../../subnet/types.ts'
import { VirtualClock } from '../fakes/clock.ts'
import { FakeLeaseTable } from '../fakes/lease-table.ts'
import { type Fate, send } from './fabric.ts'
import { SimulatedHost } from './host.ts'
import { Neighbourhood } from './neighbourhood.ts'
import { type Cluster, SimulatedNode } from './node.ts'
import {
  carriedFamilies,
  configTexts,
  FIRST_OTHER,
  OTHER_FAMILIES,
  otherFamilies,
  type Scenario,
  underlayOf,
} from './scenario.ts'

export const HOSTS = 3
/** Of the first instance; a second one has a node on all hosts but the last. */
export const MOST_NODES = HOSTS * 2 - 1
/** What etcd's leases live. */
const LEASE_MS = 150_000

/** A daemon that is slow or killed has gone from one configuration to the next after that. */
const UNSTEADY_MS = 60_000
const MOST_ODD = 2

/** Hosts on one link, with a node of each instance, a store for each network, and a virtual clock. */
export class World {
  readonly clock = new VirtualClock()
  readonly scenario: Scenario
  readonly hosts: readonly SimulatedHost[]
  readonly clusters: readonly Cluster[]
  /** Those of the first instance come first. */
  readonly nodes: readonly SimulatedNode[]
  readonly #folder = mkdtempSync(join(tmpdir(), 'flanneld-simulation-'))
  #addresses = 100
  #configs = 0
  /** Nodes may have another backend than the scenario's: it was configured once, and they are not at rest yet. */
  mayHaveOthers = false
  #oddConfigs = 0
  #isOdd = false
  /** When other families were written, or the first ones again. */
  #oddAt = Number.NEGATIVE_INFINITY

  constructor(scenario: Scenario) {
    this.scenario = scenario
    const { clock } = this
    const underlay = underlayOf(scenario)
    this.hosts = Array.from({ length: HOSTS }, (_, place) => new SimulatedHost(underlay, place + 1))
    // Packets of either engine of udp are the same.
    const isMixed = scenario.backend === 'udp'
    for (const [place, host] of this.hosts.entries()) host.hasFou = !isMixed || (place + scenario.seed) % 2 === 0
    const neighbourhood = new Neighbourhood({ clock, hosts: () => this.hosts })
    const shared = {
      clock,
      neighbourhood,
      random: randomOf(scenario.seed),
      folder: this.#folder,
      guard: scenario.hasGuard,
      masquerade: scenario.masquerade !== 'no',
    }
    const instances = scenario.hasSecond ? ['', 'beefbeef'] : ['']
    this.clusters = instances.map((instance) => {
      const config = new Latest<ConfigText>('configuration')
      return { ...shared, instance, config, table: new FakeLeaseTable({ clock }, { ttlMs: LEASE_MS }) }
    })
    const claims = this.hosts.map(() => new Map<string, OwnershipScope>())
    this.nodes = this.clusters.flatMap((cluster, number) =>
      this.hosts.slice(0, HOSTS - number).map((host, place) => {
        return new SimulatedNode(cluster, { host, claims: claims[place] ?? new Map() })
      }),
    )
    this.configure(0)
  }

  /** There may be fewer nodes than a history speaks of. */
  node(place: number): SimulatedNode {
    const node = this.nodes[place % this.nodes.length]
    if (node === undefined) throw new RangeError(`there is no node ${place}`)
    return node
  }

  placeOf(node: SimulatedNode): number {
    return this.nodes.indexOf(node)
  }

  nodesOn(host: SimulatedHost): readonly SimulatedNode[] {
    return this.nodes.filter((node) => node.host === host)
  }

  /** Writes one of the configurations of the scenario. */
  configure(number: number): void {
    const isOdd = number === OTHER_FAMILIES
    // What is made for a change has to be on record: a start that finds nothing there takes what is left of another backend for foreign.
    if (number >= FIRST_OTHER && this.nodes.some(({ disk }) => disk.full)) return
    // More often it would be held for ten minutes.
    if (isOdd && this.#oddConfigs === MOST_ODD) return
    if (isOdd) this.#oddConfigs += 1
    if (isOdd || this.#isOdd) this.#oddAt = this.clock.now()
    this.#isOdd = isOdd
    this.#configs += 1
    if (number >= FIRST_OTHER) this.mayHaveOthers = true
    for (const [instance, { config }] of this.clusters.entries()) {
      const text = configTexts(this.scenario, instance)[number]
      config.set({ text, revision: String(this.#configs), origin: 'the simulation' })
    }
  }

  /** Whether the family is neither off nor on its way to be so or back. */
  isSteady(family: Family): boolean {
    const isKept = otherFamilies(this.scenario).includes(family)
    return isKept || (!this.#isOdd && this.clock.now() - this.#oddAt > UNSTEADY_MS)
  }

  newAddress(host: SimulatedHost, family: Family): IpAddr {
    this.#addresses += 1
    return host.addressOf(family, this.#addresses)
  }

  /** Counts changes of what decides who reaches whom. */
  get version(): number {
    return this.hosts.reduce((sum, { kernel }) => sum + kernel.version, 0)
  }

  /** Those that shall reach each other. */
  *pairs(): Generator<readonly [from: SimulatedNode, to: SimulatedNode, family: Family]> {
    for (const from of this.nodes)
      for (const to of this.nodes)
        if (from !== to && from.cluster === to.cluster)
          for (const family of carriedFamilies(this.scenario, this.clusters.indexOf(from.cluster)))
            yield [from, to, family]
  }

  /** Why a packet to the other node's containers does not arrive there; undefined: it does. */
  lost(from: SimulatedNode, to: SimulatedNode, family: Family): string | undefined {
    const source = from.subnets.get(family)
    const target = to.subnets.get(family)
    if (source === undefined || target === undefined) return 'no subnet'
    const fate: Fate = send({ from: source, to: target }, from.host, this.hosts)
    if ('lost' in fate) return fate.lost
    return fate.host === to.host ? undefined : 'it arrives at another host'
  }

  /** Whether a route of another program has the place of one to this node, which is rejected with this family then. */
  isTaken(from: SimulatedNode, to: SimulatedNode, family: Family): boolean {
    const { makers } = from.host.kernel
    const subnet = to.subnets.get(family)
    return from.host.routes().some((route) => route.dst === subnet && !makers.of(route).startsWith('instance'))
  }

  close(): void {
    for (const node of this.nodes) node.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function randomOf(seed: number): () => number {
  let state = ((seed * 2 + 1) % 2_147_483_646) + 1
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}
