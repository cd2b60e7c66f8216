import { type Cidr, contains, type Family, type IpAddr } from '../../../lib/address.ts'
import { joinedKey, type Kind, phrase } from '../kind.ts'
import { ROUTE_PROTOCOL } from '../route/numbers.ts'

/** Number of the routing table that probes alone are sent by. The main table never hears of what is only tried. */
export const PROBE_TABLE = 0x66000000

/** How probes to a peer's subnet go: by the way that is to be proven before any other packet takes it. */
export interface ProbeRoute {
  readonly kind: 'probe-route'
  readonly family: Family
  readonly dst: Cidr
  readonly device: string
  /** Undefined: the device needs no gateway. */
  readonly via?: IpAddr
  readonly onLink?: boolean
}

export const probeRoute: Kind<ProbeRoute> = {
  name: 'probe-route',
  // It lives for seconds, and a probe that is lost because it went is sent again.
  events: false,
  removed: true,
  keyedWithoutDevice: true,
  key: ({ dst }) => joinedKey('probe-route', dst),
  compare: (actual, desired) =>
    actual.device === desired.device &&
    actual.via === desired.via &&
    (actual.onLink ?? false) === (desired.onLink ?? false)
      ? 'same'
      : 'update',
  // The table lists our own protocol only, and two instances have two networks.
  ownership: ({ dst }, _wanted, { scope }) =>
    scope.networks.some(({ network }) => contains(network, dst)) ? 'ours' : 'foreign',
  device: ({ device }) => device,
  describe: text,
  commands: {
    create: (object) => [command('add', object)],
    update: (object) => [command('replace', object)],
    remove: (object) => command('delete', object),
  },
}

function command(verb: 'add' | 'replace' | 'delete', object: ProbeRoute): string {
  return phrase(object.family === 6 ? 'ip -6 route' : 'ip route', verb, text(object))
}

function text({ dst, via, device, onLink }: ProbeRoute): string {
  const number = `table ${PROBE_TABLE}`
  return phrase(dst, via && `via ${via}`, `dev ${device}`, number, `proto ${ROUTE_PROTOCOL}`, onLink && 'onlink')
}
