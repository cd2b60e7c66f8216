import { LOOPBACK } from '../../kernel/kinds/address/kind.ts'
import type { KernelObject } from '../../kernel/objects.ts'
import type { Op } from '../../kernel/table.ts'
import type { Cidr } from '../../lib/address.ts'
import { type Configuration, takesPlaceOf } from '../node/configuration.ts'
import type { EndedConnections, LeavingRoute } from './ended-connections.ts'

/** What a change could do to traffic that flows now. */
export interface Interruption {
  /** Short stable words. */
  readonly code: string
  readonly text: string
  /** How many of them there are now; absent: they are not counted. */
  readonly count?: number
}

export interface Change {
  readonly inUse: Configuration
  readonly next: Configuration
  /** In the order of their application. */
  readonly ops: readonly Op<KernelObject>[]
  /** Nodes that no way of the new configuration reaches, by the names of their leases. */
  readonly unreached: Iterable<string>
  /** The routes to these. No operation names one that goes together with its device. */
  readonly left: readonly LeavingRoute[]
  /** The present way stands beside the new one until every peer has left it. */
  readonly isBeside: boolean
}

/** `ended`: by the routes that leave. Pure. Containers' own connections carry on: only what is translated, bound to a device, or too large is here. */
export function interruptions(change: Change, ended: EndedConnections): readonly Interruption[] {
  const { ops } = change
  return [
    ...masqueradedConnections(routesLeaving(change).length, ended),
    ...lostDevices(ops),
    ...engines(change),
    ...sizes(ops),
    ...leftPeers(change),
  ]
}

/** The kernel ends them; see `endsWith`. */
function masqueradedConnections(moved: number, { count, unknown }: EndedConnections): readonly Interruption[] {
  if (moved === 0) return []
  const code = 'masqueraded-connections'
  const what = `masqueraded connections to the ${moved === 1 ? 'subnet' : `${moved} subnets`} whose route changes its device or goes end (a TCP reset for their client; connections between containers carry on)`
  if (count === null) return [{ code, text: `${what}; how many there are is not known: ${unknown}` }]
  return [{ code, count, text: `${what}: ${count} now` }]
}

/** Pure. */
export function routesLeaving({ ops, left }: Pick<Change, 'ops' | 'left'>): readonly LeavingRoute[] {
  const before = new Map(left.map(({ dst, device }) => [dst, device]))
  const after = new Map<Cidr, string | undefined>()
  for (const op of ops) {
    const { object } = op
    if (object.kind !== 'route') continue
    if (op.verb === 'remove') before.set(object.dst, object.device)
    else after.set(object.dst, object.device)
    if ('actual' in op && op.actual.kind === 'route') before.set(object.dst, op.actual.device)
  }
  return [...before].flatMap(([dst, device]) => (after.get(dst) === device ? [] : [{ dst, device }]))
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
    // Its address stays, and so do the sockets.
    if (verb !== 'remove' || keepsAddress(ops)) return []
    return [
      {
        code: 'device-removed',
        text: `the device ${object.name} goes, and its addresses with it: sockets of this host that are bound to one of them end`,
      },
    ]
  })
}

/** Whether the address of a device that goes stays for the sockets that have it. */
export function keepsAddress(ops: readonly Op<KernelObject>[]): boolean {
  return ops.some(({ verb, object }) => verb === 'create' && object.kind === 'address' && object.device === LOOPBACK)
}

function leftPeers({ unreached, isBeside }: Change): readonly Interruption[] {
  const names = [...unreached]
  const count = names.length
  if (count === 0 || isBeside) return []
  const named = `${names.slice(0, 3).join(', ')}${count > 3 ? ` and ${count - 3} more` : ''}`
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
  if (!takesPlaceOf(next, inUse)) return []
  return [
    {
      code: 'udp-engine',
      text: 'the engines of udp cannot overlap: packets are lost until the new one has opened its port; together with another Backend.Port none is',
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
