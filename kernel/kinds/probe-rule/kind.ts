import { contains, familyOf, type IpAddr } from '../../../lib/address.ts'
import { joinedKey, type Kind } from '../kind.ts'
import { PROBE_TABLE } from '../probe-route/kind.ts'
import { ROUTE_PROTOCOL } from '../route/numbers.ts'
import type { ProbePorts } from './ports.ts'

/** Before the main table's, behind the local one. */
export const PROBE_PRIORITY = 102
/** Of what the table of probes has no route for: right behind, still before the main table. */
export const NO_PROBE_PRIORITY = 103

/**
 * Who goes by the table of probes, or, where that has no route, nowhere: the kernel would go on to the main table, and a probe by the
 * path that is in use would prove another one.
 */
export interface ProbeRule {
  readonly kind: 'probe-rule'
  readonly action: 'lookup' | 'unreachable'
  /** The address of this host in the overlay that probes come from. */
  readonly from: IpAddr
  /** Of the ports that probes by a way that is tried are sent from: containers' packets never go by the rule. */
  readonly sources: ProbePorts['tried']
}

export const probeRule: Kind<ProbeRule> = {
  name: 'probe-rule',
  events: false,
  removed: true,
  key: ({ from, action, sources }) => joinedKey('probe-rule', from, action, sources.first),
  compare: () => 'same',
  // The table lists those only that bear our protocol number and are of one of the two forms, and two instances have two networks.
  ownership: ({ from }, _wanted, { scope }) =>
    scope.networks.some(({ network }) => contains(network, from)) ? 'ours' : 'foreign',
  describe: text,
  commands: {
    create: (object) => [command('add', object)],
    update: (object) => [command('add', object)],
    remove: (object) => command('delete', object),
  },
}

function command(verb: 'add' | 'delete', object: ProbeRule): string {
  return `${familyOf(object.from) === 6 ? 'ip -6 rule' : 'ip rule'} ${verb} ${text(object)}`
}

function text({ from, action, sources }: ProbeRule): string {
  const ports = `ipproto udp sport ${sources.first}-${sources.last}`
  const [does, priority] =
    action === 'lookup' ? [`lookup ${PROBE_TABLE}`, PROBE_PRIORITY] : ['unreachable', NO_PROBE_PRIORITY]
  return `from ${from} iif lo ${ports} ${does} priority ${priority} protocol ${ROUTE_PROTOCOL}`
}
