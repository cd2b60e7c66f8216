import { familyOf } from '../lib/address.ts'
import { assertNever } from '../lib/errors.ts'
import { describe } from './describe.ts'
import { guardChange, guardRemoval } from './guard/commands.ts'
import { isGuard } from './guard/objects.ts'
import { driverChangeText, driverText } from './kinds/link/driver-text.ts'
import { BOOT_PROTOCOL, type FouPort, type KernelObject, type Link, type Route } from './objects.ts'
import { ruleChange, ruleRemoval } from './rules/commands.ts'
import { isRules } from './rules/objects.ts'
import type { Op } from './table.ts'

/** The change as commands that an operator knows; what `flanneld plan` prints. Order within the list matters. */
export function commandsFor(op: Op<KernelObject>): readonly string[] {
  switch (op.verb) {
    case 'create':
      return creation(op.object, 'add')
    case 'update':
      return change(op.object, op.actual)
    case 'recreate':
      return [removal(op.actual), ...creation(op.object, 'add')]
    case 'remove':
      return [removal(op.object)]
    default:
      return assertNever(op)
  }
}

function change(object: KernelObject, actual: KernelObject): readonly string[] {
  if (object.kind === 'link' && actual.kind === 'link') return linkChange(object, actual)
  if (isRules(object) && isRules(actual)) return ruleChange(object, actual)
  if (isGuard(object) && isGuard(actual)) return guardChange(object, actual)
  return creation(object, 'replace')
}

function creation(object: KernelObject, verb: 'add' | 'replace'): readonly string[] {
  switch (object.kind) {
    case 'fou-port':
      return [`ip fou add ${fouText(object)} ipproto ${object.protocol}`]
    case 'link':
      return linkCreation(object)
    case 'address':
      return [`ip address ${verb} ${object.address}/${object.length} dev ${object.device}`]
    case 'udp-peer':
    case 'udp-proxy':
      return [`# in flanneld: ${describe(object)}`]
    case 'route':
      return [`ip ${flag(object)}route ${verb} ${routeText(object)}`]
    case 'neighbour':
      return [`ip neighbour ${verb} ${object.address} lladdr ${object.mac} dev ${object.device} nud permanent`]
    case 'fdb':
      return [`bridge fdb ${verb} ${object.mac} dev ${object.device} dst ${object.dst} self permanent`]
    case 'sysctl':
      return [`echo ${object.value} > /proc/sys/${object.path}`]
    case 'file':
      return [
        `install -D -m ${object.mode.toString(8).padStart(4, '0')} /dev/stdin ${object.path} <<'END'`,
        `${object.content}END`,
      ]
    case 'nft-table':
    case 'iptables-chain':
      return ruleChange(object, undefined)
    case 'guard-sets':
    case 'guard-peer':
    case 'guard-chains':
      return guardChange(object, undefined)
    default:
      return assertNever(object)
  }
}

function removal(object: KernelObject): string {
  switch (object.kind) {
    case 'fou-port':
      return `ip fou del ${fouText(object)}`
    case 'link':
      return `ip link delete ${object.name}`
    case 'address':
      return `ip address delete ${object.address}/${object.length} dev ${object.device}`
    case 'udp-peer':
    case 'udp-proxy':
      return `# ends with flanneld: ${describe(object)}`
    case 'route':
      return `ip ${flag(object)}route delete ${routeText(object)}`
    case 'neighbour':
      return `ip neighbour delete ${object.address} dev ${object.device}`
    case 'fdb':
      return `bridge fdb delete ${object.mac} dev ${object.device} dst ${object.dst} self`
    case 'sysctl':
      return `# /proc/sys/${object.path} stays as it is`
    case 'file':
      return `rm ${object.path}`
    case 'nft-table':
    case 'iptables-chain':
      return ruleRemoval(object).join('\n')
    case 'guard-sets':
    case 'guard-peer':
    case 'guard-chains':
      return guardRemoval(object).join('\n')
    default:
      return assertNever(object)
  }
}

function fouText({ port, local }: FouPort): string {
  return local === undefined ? `port ${port}` : `port ${port} local ${local}`
}

function linkCreation(link: Link): readonly string[] {
  if (link.driver.type === 'tun') {
    const state = link.up ? ' up' : ''
    return [`ip tuntap add dev ${link.name} mode tun`, `ip link set ${link.name} mtu ${link.mtu}${state}`]
  }
  const commands = [
    `ip link add ${link.name}${link.mac === undefined ? '' : ` address ${link.mac}`} mtu ${link.mtu} type ${driverText(link.driver)}`,
  ]
  if (link.up) commands.push(`ip link set ${link.name} up`)
  return commands
}

function linkChange(link: Link, actual: Link): readonly string[] {
  const changes: string[] = []
  if (link.mtu !== actual.mtu) changes.push(`mtu ${link.mtu}`)
  if (link.mac !== undefined && link.mac !== actual.mac) changes.push(`address ${link.mac}`)
  if (link.up !== actual.up) changes.push(link.up ? 'up' : 'down')
  const commands = changes.length === 0 ? [] : [`ip link set ${link.name} ${changes.join(' ')}`]
  const tunnel = driverChangeText(actual.driver, link.driver)
  if (tunnel !== undefined) commands.push(`ip link set ${link.name} type ${tunnel}`)
  return commands
}

function routeText(route: Route): string {
  const words = [route.type === 'blackhole' ? `blackhole ${route.dst}` : route.dst]
  if (route.via !== undefined) words.push(`via ${route.via}`)
  if (route.device !== undefined) words.push(`dev ${route.device}`)
  if (route.protocol !== BOOT_PROTOCOL) words.push(`proto ${route.protocol}`)
  if (route.scope !== undefined) words.push(`scope ${route.scope}`)
  const ordinary = route.family === 4 ? 0 : 1024
  if (route.metric !== ordinary) words.push(`metric ${route.metric}`)
  if (route.onLink) words.push('onlink')
  return words.join(' ')
}

function flag(route: Route): string {
  return familyOf(route.dst) === 6 ? '-6 ' : ''
}
