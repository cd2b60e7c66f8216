import { assertNever } from '../lib/errors.ts'
import { describeGuard } from './guard/commands.ts'
import { driverDescription } from './kinds/link/driver-text.ts'
import type { KernelObject, Link } from './objects.ts'
import { describeRules } from './rules/commands.ts'

/** One line about an object for logs and conditions, in the words of `ip`. The content of a file is left out. */
export function describe(object: KernelObject): string {
  switch (object.kind) {
    case 'fou-port':
      return join([`fou port ${object.port} ipproto ${object.protocol}`, object.local && `local ${object.local}`])
    case 'link':
      return describeLink(object)
    case 'address':
      return `${object.address}/${object.length} dev ${object.device}`
    case 'udp-peer':
      return `${object.subnet} to ${object.publicIp} by the udp proxy`
    case 'udp-proxy':
      return `udp proxy of ${object.device} at ${object.local}:${object.port}, own address ${object.own}`
    case 'route':
      return join([
        object.type === 'blackhole' && 'blackhole',
        object.dst,
        object.via && `via ${object.via}`,
        object.device && `dev ${object.device}`,
        `proto ${object.protocol}`,
        `metric ${object.metric}`,
        object.scope && `scope ${object.scope}`,
        object.onLink && 'onlink',
      ])
    case 'neighbour':
      return `${object.address} lladdr ${object.mac} dev ${object.device}`
    case 'fdb':
      return `${object.mac} dst ${object.dst} dev ${object.device}`
    case 'sysctl':
      return `${object.path}=${object.value}`
    case 'file':
      return `${object.path} mode ${object.mode.toString(8)}, ${object.content.length} characters`
    case 'nft-table':
    case 'iptables-chain':
      return describeRules(object)
    case 'guard-sets':
    case 'guard-peer':
    case 'guard-chains':
      return describeGuard(object)
    default:
      return assertNever(object)
  }
}

function describeLink(link: Link): string {
  return join([
    `${link.name} mtu ${link.mtu}`,
    link.up ? 'up' : 'down',
    link.mac && `address ${link.mac}`,
    `type ${driverDescription(link.driver)}`,
  ])
}

function join(parts: readonly (string | false | undefined)[]): string {
  return parts.filter((part) => part).join(' ')
}
