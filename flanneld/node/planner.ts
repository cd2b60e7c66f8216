import type { Notice, PathState, SkippedPeer } from '../../backends/backend.ts'
import type { DesiredState } from '../../kernel/desired.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import type { PacketPath } from '../../kernel/obstacles/packet-path.ts'
import { FAMILIES } from '../../lib/address.ts'
import { type Change, changesBetween, type PersistentMap } from '../../lib/persistent-map.ts'
import type { Lease } from '../../subnet/types.ts'
import { guardTable } from './guard-rules.ts'
import { receiversOf } from './own-packets.ts'
import { type OwnPlan, planOwn } from './own-plan.ts'
import { PeerFold } from './peer-fold.ts'
import { type PeerBasis, planPeer, type RefusedWay } from './peer-plan.ts'
import { ANYWHERE, PeerTraits } from './peer-traits.ts'
import type { PlannerInput } from './planner-input.ts'

export interface NodePlan {
  readonly desired: DesiredState & { readonly objects: PersistentMap<DesiredObject> }
  /** Of the desired objects those that belong to no peer. */
  readonly own: readonly DesiredObject[]
  readonly mtu: number
  /** The oldest lease first. */
  readonly skipped: readonly SkippedPeer[]
  /** By lease id. */
  readonly paths: PersistentMap<PathState>
  /** By lease id, while the node changes its way: what the peer accepts and what does not lead to it. */
  readonly refused: PersistentMap<readonly RefusedWay[]>
  readonly notices: readonly Notice[]
  /** Of which it is asked whether rules of other programs drop them. */
  readonly packetPaths: readonly PacketPath[]
  /** By way: what it needs of this node, whoever its peers are. */
  readonly locals: OwnPlan['locals']
}

/**
 * All that this host shall hold: total, the same for every order of the peers and whatever was planned before. Only what differs from
 * the last time is planned: a peer where its lease has changed, how it is reached, or what all plans of peers are made from; the
 * node's own objects where anything has changed that they are made from.
 */
export class Planner {
  #last: Memory | undefined

  plan(input: PlannerInput): NodePlan {
    // After a fault of the program there is no half-changed memory: the next plan begins anew.
    const last = this.#last
    this.#last = undefined
    const memory = nextMemory(last, input)
    this.#last = memory
    const { own, peers } = memory
    return {
      desired: { objects: peers.objects, complete: input.complete, scope: input.scope },
      own: [...own.plan.objects.values()],
      mtu: own.plan.mtu,
      skipped: peers.skipped,
      paths: peers.paths,
      refused: peers.refused,
      notices: own.plan.notices,
      packetPaths: own.plan.packetPaths,
      locals: own.plan.locals,
    }
  }
}

/** What is known of the last plan; its parts change in place. */
interface Memory {
  readonly input: PlannerInput
  readonly traits: PeerTraits
  readonly own: { readonly madeFrom: readonly unknown[]; readonly plan: OwnPlan }
  readonly basis: { readonly madeFrom: readonly unknown[]; readonly value: PeerBasis }
  readonly peers: PeerFold
}

function nextMemory(last: Memory | undefined, input: PlannerInput): Memory {
  const traits = traitsOf(last, input)
  const own = ownPlanOf(last, input, input.isAlone ? ANYWHERE : traits.words)
  const basis = basisOf(last, input, own.plan)
  const peers = last?.basis === basis ? last.peers : new PeerFold()
  const changed = last?.basis === basis ? changedPeers(last.input, input) : input.peers.keys()
  const plans = Array.from(changed, (id) => {
    const lease = input.peers.get(id)
    return [id, lease && planPeer(basis.value, lease, input)] as const
  })
  peers.change(own.plan.objects, plans, input.peers)
  return { input, traits, own, basis, peers }
}

function traitsOf(last: Memory | undefined, input: PlannerInput): PeerTraits {
  const { network, peers, facts } = input
  const known = last?.input.network === network ? last : undefined
  const traits = known?.traits ?? new PeerTraits(network)
  traits.change(
    changesBetween(known?.input.peers ?? new Map(), peers),
    changesBetween(known?.input.facts.reach ?? new Map(), facts.reach),
  )
  return traits
}

function ownPlanOf(last: Memory | undefined, input: PlannerInput, traits: ReadonlySet<string>): Memory['own'] {
  const { network, ways, own, options, facts, change, kept } = input
  const { reach: _reach, ...local } = facts
  const madeFrom = [
    network,
    ...ways,
    own,
    traits,
    change?.target,
    change?.isTold,
    textOf(kept),
    ...fields(options),
    ...fields(local),
  ]
  if (last !== undefined && isSame(last.own.madeFrom, madeFrom)) return last.own
  return { madeFrom, plan: planOwn({ network, ways, own, options, facts, change, ...(kept && { kept }) }, traits) }
}

function textOf(kept: PlannerInput['kept']): string {
  return kept === undefined ? '' : [...kept.ours, '|', ...kept.unused].join(' ')
}

function basisOf(last: Memory | undefined, input: PlannerInput, own: OwnPlan): Memory['basis'] {
  const { network, ways, facts, options, change } = input
  const ingresses = [...own.locals.values()].flatMap(({ ingress }) => ingress ?? [])
  const tunnels = new Map(FAMILIES.map((family) => [family, receiversOf(ingresses, family)]))
  const guard = options.guard && ingresses.length > 0 ? guardTable(options.guard.instance) : undefined
  const { onLink, external, nexthops } = facts
  const complete = input.current === undefined || input.complete
  const local = [guard, onLink, external.name, nexthops, change?.target, complete]
  const madeFrom = [network, ...ways, ...[...tunnels].flat(2), ...local]
  if (last !== undefined && isSame(last.basis.madeFrom, madeFrom)) return last.basis
  const inputs = ways.map((way) => {
    const { config, identity } = way
    const tunnels = own.locals.get(way)?.ingress?.tunnels ?? new Map()
    return [way, { config, identity, tunnels, nexthops }] as const
  })
  const value = {
    families: [...network.families.keys()],
    ways,
    target: change?.target,
    complete,
    inputs: new Map(inputs),
    tunnels,
    guard: guard === undefined ? undefined : { table: guard, uplink: external.name, onLink },
  }
  return { madeFrom, value }
}

/** Ids of peers that say something else than before, are reached in another way, or have come or gone. */
function changedPeers(last: PlannerInput, input: PlannerInput): ReadonlySet<string> {
  const leases = changesBetween(last.peers, input.peers)
  const ids = new Set(leases.map(({ key }) => key))
  for (const { key } of changesBetween(last.current ?? new Map(), input.current ?? new Map())) ids.add(key)
  const reached = new Set(changesBetween(last.facts.reach, input.facts.reach).map(({ key }) => key))
  // A peer that comes brings its own address with it, so that the others need not be asked.
  for (const address of leases.flatMap(addressesOf)) reached.delete(address)
  if (reached.size === 0) return ids
  for (const [id, lease] of input.peers) {
    for (const { publicIp } of lease.families.values()) if (reached.has(publicIp)) ids.add(id)
  }
  return ids
}

function addressesOf({ before, after }: Change<Lease>): readonly string[] {
  return [before, after].flatMap((lease) => [...(lease?.families.values() ?? [])].map(({ publicIp }) => publicIp))
}

function fields(object: object): readonly unknown[] {
  return Object.entries(object).flat()
}

function isSame(before: readonly unknown[], after: readonly unknown[]): boolean {
  return before.length === after.length && before.every((value, index) => value === after[index])
}
