import type { LocalPlan, Notice } from '../../backends/backend.ts'
import { carriedFamilies, familyNotices } from '../../backends/families.ts'
import { looseUplink } from '../../backends/reverse-path.ts'
import { blackholeRoute } from '../../backends/routes.ts'
import { ownPorts, type Way } from '../../backends/way.ts'
import { freeProbePorts, PROBE_PORTS } from '../../kernel/kinds/probe-rule/ports.ts'
import { type DesiredObject, keyOf, type Role } from '../../kernel/objects.ts'
import type { PacketPath } from '../../kernel/obstacles/packet-path.ts'
import { type Family, networkAddress } from '../../lib/address.ts'
import { type CniNetwork, renderConflist } from '../cni/conflist.ts'
import { renderSubnetFile } from '../state/subnet-file.ts'
import { arrivals } from './arrivals.ts'
import { guardObjects } from './guard-rules.ts'
import { keptAddresses } from './kept-addresses.ts'
import { type OwnPackets, ownPackets } from './own-packets.ts'
import { packetPaths } from './packet-paths.ts'
import { underlayInside } from './peer-traits.ts'
import type { PlannerInput } from './planner-input.ts'
import { trafficObjects } from './traffic-rules.ts'

/** What this node needs whoever its peers are. */
export interface OwnPlan {
  /** By `keyOf`. */
  readonly objects: ReadonlyMap<string, DesiredObject>
  /** Bytes: what every way can carry. */
  readonly mtu: number
  readonly notices: readonly Notice[]
  readonly packetPaths: readonly PacketPath[]
  readonly locals: ReadonlyMap<Way, LocalPlan>
}

export type OwnInput = Omit<PlannerInput, 'peers' | 'current' | 'complete' | 'isAlone' | 'scope'>

/** `traits`: of the peers together (`peer-traits.ts`). Pure. */
export function planOwn(input: OwnInput, traits: ReadonlySet<string>): OwnPlan {
  const { ways, options } = input
  const { guard, traffic } = options
  const locals = localPlans(input, traits)
  const ingresses = [...locals.values()].flatMap(({ ingress }) => ingress ?? [])
  const carried = carriedBy(ways, input)
  const mtu = Math.min(...[...locals.values()].map((local) => local.mtu))
  const objects = [
    // Of two that make one device differently the preferred one counts.
    ...[...locals].reverse().flatMap(([way, local]) => localObjects(input, way, local)),
    ...betweenWays(input),
    ...keptAddresses(input, locals),
    ...nodeObjects(input, mtu, ownPackets(input, ingresses, carried)),
    ...(guard && ingresses.length > 0 ? guardObjects({ ...input, traits }, ingresses, guard) : []),
  ]
  const byKey = new Map(objects.map((object) => [keyOf(object), object]))
  for (const [key, object] of byKey) byKey.set(key, withAlternatives(object, carried))
  const local = [...locals.values()].flatMap(({ notices }) => notices)
  return {
    objects: byKey,
    mtu,
    notices: [...notCarried(input, carried), ...local],
    packetPaths: [...(traffic ? packetPaths({ ...input, ingresses }, traffic) : []), ...arrivals(input, locals)],
    locals,
  }
}

/** Of a way that nobody has been told of yet nothing is required: the node goes on without it. */
function localObjects({ change }: OwnInput, way: Way, { objects }: LocalPlan): readonly DesiredObject[] {
  if (change === undefined || change.isTold || change.target !== way) return objects
  const remedy = `remove what is in the way of the backend ${way.backend.type}, or write the earlier configuration again`
  return objects.map((object) => (object.role.class === 'required' ? { ...object, role: advisory(remedy) } : object))
}

/** What only a node with several ways needs: its probes go by a table of their own, and two hosts may send to each other by different ways. */
function betweenWays({ ways, change, own, facts }: OwnInput): readonly DesiredObject[] {
  if (change === undefined || ways.length < 2) return []
  const mayBeDirect = ways.some(({ backend, config }) => backend.reach(config) !== 'unused')
  const role = advisory(
    'the kernel needs policy routing (CONFIG_IP_MULTIPLE_TABLES) for a change of the backend without a restart',
  )
  const [{ tried: sources } = PROBE_PORTS[0]] = freeProbePorts(ownPorts(ways))
  return [
    ...(mayBeDirect && facts.strictReversePath ? [looseUplink(facts.external.name)] : []),
    // That which closes the way to the main table first.
    ...(['unreachable', 'lookup'] as const).flatMap((action) =>
      [...own.families.values()].map(
        ({ subnet }) => ({ kind: 'probe-rule', role, action, from: networkAddress(subnet), sources }) as const,
      ),
    ),
  ]
}

function advisory(remedy: string): Role {
  return { class: 'advisory', remedy }
}

function localPlans(input: OwnInput, traits: ReadonlySet<string>): ReadonlyMap<Way, LocalPlan> {
  const { ways, network, own, facts, options } = input
  const inside = underlayInside(traits, input, options.storeAddresses)
  return new Map(
    ways.map((way) => {
      const { backend, config, identity, devices } = way
      return [way, backend.local({ config, network, identity, devices, own, facts, underlayInside: inside })]
    }),
  )
}

/** Families of the network that one of the ways carries. */
function carriedBy(ways: readonly Way[], { network }: Pick<OwnInput, 'network'>): readonly Family[] {
  return [...network.families.keys()].filter((family) =>
    ways.some(({ backend }) => carriedFamilies(backend, network).includes(family)),
  )
}

function notCarried({ ways, network }: OwnInput, carried: readonly Family[]): readonly Notice[] {
  const types = [...new Set(ways.map(({ backend }) => backend.type))]
  return familyNotices({ type: types.join(', '), families: carried }, network)
}

/** One whole family is enough for a node: what belongs to another one may fail meanwhile. */
function withAlternatives(object: DesiredObject, carried: readonly Family[]): DesiredObject {
  const { role } = object
  if (role.class !== 'required' || role.family === undefined) return object
  const instead = carried.filter((family) => family !== role.family)
  return instead.length === 0 ? object : { ...object, role: { ...role, instead } }
}

function nodeObjects(input: OwnInput, mtu: number, hosts: ReadonlyMap<Family, OwnPackets>): readonly DesiredObject[] {
  const { own, network, options } = input
  const subnets = [...own.families.values()].map((part) => part.subnet)
  return [
    ...(options.blackholeRoute ? subnets.map(blackholeRoute) : []),
    ...(options.traffic === undefined ? [] : trafficObjects(network, own, options.traffic, hosts)),
    {
      kind: 'file',
      role: { class: 'required' },
      path: options.subnetFile,
      content: renderSubnetFile({ network, own, mtu, ipMasq: options.ipMasq }),
      mode: 0o644,
      keeps: 'docker options',
    },
    ...(options.cni === undefined ? [] : [conflist(options.cni, { network, own, mtu, ipMasq: options.ipMasq })]),
  ]
}

/** Without it no container gets a network: a node that cannot write it is not ready. Only the runtime reads it, which is root. */
function conflist({ confFile, name }: CniNetwork, facts: Parameters<typeof renderConflist>[1]): DesiredObject {
  const content = renderConflist(name, facts)
  const role = { class: 'required' } as const
  return {
    kind: 'file',
    role,
    path: confFile,
    content,
    mode: 0o600,
    keeps: 'chained plugins',
    option: '--cni-conf-file',
  }
}
