import { contains, prefixLength } from '../lib/address.ts'
import { assertNever } from '../lib/errors.ts'
import type { DesiredState, OwnershipScope } from './desired.ts'
import {
  type Address,
  BOOT_PROTOCOL,
  defaultMetric,
  type FouPort,
  IPPROTO_IPIP,
  type KernelObject,
  keyOf,
  type Link,
  ROUTE_PROTOCOL,
  type Route,
} from './objects.ts'
import { instanceOfGuard } from './rules/names.ts'
import { ownershipOfRules } from './rules/ownership.ts'

/**
 * Whose an object in the kernel is. A fresh process judges by what it sees and by its state file alone.
 * `ours`: may be changed and removed. `adoptable`: stands at a wanted key, made by flannel or by hand; may be changed.
 * `leftover`: flannel's, not wanted; may be removed. `foreign`: never touched.
 */
export type Ownership = 'ours' | 'adoptable' | 'leftover' | 'foreign'

export function ownershipOf(actual: KernelObject, desired: DesiredState): Ownership {
  const wanted = desired.objects.has(keyOf(actual))
  switch (actual.kind) {
    case 'fou-port':
      return ownershipOfFouPort(actual, wanted, desired.scope)
    case 'link':
      return ownershipOfLink(actual, desired)
    case 'address':
      return ownershipOfAddress(actual, desired.scope)
    case 'route':
      return ownershipOfRoute(actual, wanted, desired)
    case 'udp-peer':
    case 'udp-proxy':
      // Nobody else can make one in this process.
      return 'ours'
    case 'neighbour':
    case 'fdb':
      // These carry no mark of their maker. Nobody else has business on our devices.
      if (!desired.scope.devices.has(actual.device)) return 'foreign'
      return wanted ? 'adoptable' : 'ours'
    case 'nft-table':
    case 'iptables-chain':
      return ownershipOfRules(actual, wanted, desired.scope)
    case 'guard-sets':
      if (actual.alien) return 'foreign'
      return instanceOfGuard(actual.table) === (desired.scope.instance ?? '') ? 'ours' : 'foreign'
    case 'guard-peer':
    case 'guard-chains':
      return instanceOfGuard(actual.table) === (desired.scope.instance ?? '') ? 'ours' : 'foreign'
    case 'sysctl':
    case 'file':
      return wanted ? 'ours' : 'foreign'
    default:
      return assertNever(actual)
  }
}

// Two programs may ask for the same port in the same way; any other way to use it is somebody else's.
function ownershipOfFouPort({ port, protocol, local }: FouPort, wanted: boolean, scope: OwnershipScope): Ownership {
  if (wanted || local !== undefined || protocol !== IPPROTO_IPIP) return 'foreign'
  return scope.fouPorts?.has(port) ? 'ours' : 'foreign'
}

function ownershipOfLink(link: Link, { objects, scope }: DesiredState): Ownership {
  // A veth that somebody named flannel.1 is his, whatever our state file says.
  if (link.driver.type === 'other') return 'foreign'
  const wanted = objects.get(keyOf(link))
  // So is a device of a kind that we make, but not under this name.
  if (wanted?.kind === 'link') {
    const adoptable = wanted.driver.type === link.driver.type || isOtherUdpEngine(link, wanted, scope)
    return adoptable ? 'adoptable' : 'foreign'
  }
  return scope.devices.has(link.name) ? 'ours' : 'foreign'
}

// The two engines of the udp backend share a name. flannel's own tun is not persistent and goes when flannel ends.
function isOtherUdpEngine({ name, driver }: Link, wanted: Link, scope: OwnershipScope): boolean {
  if (!scope.devices.has(name)) return false
  if (wanted.driver.type === 'ipip' && driver.type === 'tun') {
    return wanted.driver.encapsulation !== undefined && driver.persistent
  }
  const port = driver.type === 'ipip' ? driver.encapsulation?.port : undefined
  return wanted.driver.type === 'tun' && port !== undefined && (scope.fouPorts?.has(port) ?? false)
}

function ownershipOfAddress(address: Address, scope: OwnershipScope): Ownership {
  // The kernel makes link-local addresses by itself, and neighbour discovery needs them.
  if (address.family === 6 && contains('fe80::/10' as Route['dst'], address.address)) return 'foreign'
  return scope.devices.has(address.device) ? 'ours' : 'foreign'
}

function ownershipOfRoute(route: Route, wanted: boolean, desired: DesiredState): Ownership {
  const { scope } = desired
  if (route.protocol === ROUTE_PROTOCOL) {
    if (route.device !== undefined && scope.devices.has(route.device)) return 'ours'
    // Another instance has taken over a network that this one had earlier.
    if (route.device?.startsWith('flannel')) return 'foreign'
    return scope.networks.some(({ network }) => contains(network, route.dst)) ? 'ours' : 'foreign'
  }
  if (route.protocol !== BOOT_PROTOCOL) return 'foreign'
  if (wanted) return 'adoptable'
  const isLeftover =
    isLeftoverPeerRoute(route, scope) || isNetworkRoute(route, scope) || isLeftoverBlackhole(route, desired)
  return isLeftover ? 'leftover' : 'foreign'
}

function isLeftoverPeerRoute(route: Route, scope: OwnershipScope): boolean {
  // Whoever gives a route a metric of its own is not flannel.
  if (route.type !== 'unicast' || route.via === undefined || route.metric !== defaultMetric(route.family)) return false
  const length = prefixLength(route.dst)
  return scope.networks.some(({ network, subnetLen }) => length === subnetLen && contains(network, route.dst))
}

// flannel's route of its udp backend, for all of the network: it hides hosts that live there.
function isNetworkRoute({ type, via, device, dst }: Route, { devices, networks }: OwnershipScope): boolean {
  if (type !== 'unicast' || via !== undefined || device === undefined || !devices.has(device)) return false
  return networks.some(({ network }) => network === dst)
}

// flannel's blackhole for the host's own subnet has the default metric, where it hides the bridge's connected route; ours stands at another.
function isLeftoverBlackhole(route: Route, desired: DesiredState): boolean {
  if (route.type !== 'blackhole' || route.metric !== defaultMetric(route.family)) return false
  for (const object of desired.objects.values()) {
    if (object.kind === 'route' && object.type === 'blackhole' && object.dst === route.dst) return true
  }
  return false
}
