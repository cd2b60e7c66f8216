import type { KernelObject } from '../../kernel/objects.ts'
import type { Op } from '../../kernel/table.ts'
import { type Cidr, FAMILIES, familyOf, type IpAddr } from '../../lib/address.ts'
import { addressNumber, RangeSet } from '../../subnet/range-set.ts'
import type { Configuration } from '../node/configuration.ts'

/** What a change could do to traffic that flows now. */
export interface Interruption {
  /** Short stable words. */
  readonly code: string
  readonly text: string
  /** How many of them there are now; absent: they are not counted. */
  readonly count?: number
}

/** Where connections with a translated source go; or why that is not known. */
export type Masqueraded = readonly IpAddr[] | { readonly unreadable: string }

export interface Change {
  readonly inUse: Configuration
  readonly next: Configuration
  /** In the order of their application. */
  readonly ops: readonly Op<KernelObject>[]
  /** Nodes that no way of the new configuration reaches, by the names of their leases: no route to their subnets is left. */
  readonly unreached: ReadonlyMap<string, readonly Cidr[]>
  /** The present way stands beside the new one until every peer has left it. */
  readonly isBeside: boolean
}

/** Pure. Containers' own connections carry on: only what is translated, bound to a device, or too large is here. */
export function interruptions(change: Change, masqueraded: Masqueraded): readonly Interruption[] {
  const { ops, unreached } = change
  const moved = [...movedRoutes(ops), ...[...unreached.values()].flat()]
  return [
    ...endedConnections(moved, masqueraded),
    ...lostDevices(ops),
    ...engines(change),
    ...sizes(ops),
    ...leftPeers(change),
  ]
}

/** The kernel remembers by which device a translated connection leaves, and ends it when that is another one. */
function endedConnections(moved: readonly Cidr[], masqueraded: Masqueraded): readonly Interruption[] {
  if (moved.length === 0) return []
  const code = 'masqueraded-connections'
  const what = `masqueraded connections to the ${moved.length === 1 ? 'subnet' : `${moved.length} subnets`} whose route changes its device or goes end (a TCP reset for their client; connections between containers carry on)`
  if ('unreadable' in masqueraded)
    return [{ code, text: `${what}; how many there are is not known: ${masqueraded.unreadable}` }]
  const count = countInside(moved, masqueraded)
  return [{ code, count, text: `${what}: ${count} now` }]
}

function movedRoutes(ops: readonly Op<KernelObject>[]): readonly Cidr[] {
  const before = new Map<Cidr, string | undefined>()
  const after = new Map<Cidr, string | undefined>()
  for (const op of ops) {
    const { object } = op
    if (object.kind !== 'route') continue
    if (op.verb === 'remove') before.set(object.dst, object.device)
    else after.set(object.dst, object.device)
    if ('actual' in op && op.actual.kind === 'route') before.set(object.dst, op.actual.device)
  }
  return [...before].flatMap(([dst, device]) => (after.get(dst) === device ? [] : [dst]))
}

function countInside(subnets: readonly Cidr[], addresses: readonly IpAddr[]): number {
  const sets = new Map(
    FAMILIES.map((family) => [family, new RangeSet(subnets.filter((each) => familyOf(each) === family))]),
  )
  return addresses.filter((address) => {
    const number = addressNumber(address)
    return sets.get(familyOf(address))?.overlapping({ first: number, last: number }) !== undefined
  }).length
}

function lostDevices(ops: readonly Op<KernelObject>[]): readonly Interruption[] {
  return ops.flatMap(({ verb, object }): Interruption[] => {
    if (object.kind !== 'link') return []
    if (verb === 'recreate')
      return [
        {
          code: 'device-made-anew',
          text: `the device ${object.name} is made anew: what goes by it is lost for that moment`,
        },
      ]
    if (verb !== 'remove') return []
    return [
      {
        code: 'device-removed',
        text: `the device ${object.name} goes, and its addresses with it: sockets of this host that are bound to one of them end`,
      },
    ]
  })
}

function leftPeers({ unreached, isBeside }: Change): readonly Interruption[] {
  const count = unreached.size
  if (count === 0 || isBeside) return []
  const named = `${[...unreached.keys()].slice(0, 3).join(', ')}${count > 3 ? ` and ${count - 3} more` : ''}`
  return [
    {
      code: 'other-way',
      count,
      text: `${count} other node${count === 1 ? '' : 's'} (${named}) can be reached by the present way only, as ${count === 1 ? 'its lease says' : 'their leases say'} now`,
    },
  ]
}

/** Both want the same port. */
function engines({ inUse, next }: Change): readonly Interruption[] {
  if (inUse.backend.type !== 'udp' || next.backend.type !== 'udp') return []
  const [before, after] = [inUse, next].map(({ backend, config }) => JSON.stringify(backend.written(config)))
  if (before === after) return []
  return [
    {
      code: 'udp-engine',
      text: 'the engines of udp cannot overlap: packets are lost until the new one has opened its port',
    },
  ]
}

function sizes(ops: readonly Op<KernelObject>[]): readonly Interruption[] {
  return ops.flatMap((op): Interruption[] => {
    if (op.object.kind !== 'file' || op.verb !== 'update') return []
    const before = mtuIn(op.actual)
    const after = mtuIn(op.object)
    if (before === undefined || after === undefined || after >= before) return []
    const text = `the MTU goes from ${before} to ${after}: containers that run keep the larger one, and what does not fit depends on path MTU discovery`
    return [{ code: 'smaller-mtu', text }]
  })
}

function mtuIn(object: KernelObject): number | undefined {
  const text = object.kind === 'file' ? /^FLANNEL_MTU=(\d+)$/m.exec(object.content)?.[1] : undefined
  return text === undefined ? undefined : Number(text)
}
