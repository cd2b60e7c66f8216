import type { ExternalInterface } from '../../backends/backend.ts'
import { type Family, familyOf, type IpAddr, parseIp } from '../../lib/address.ts'
import { type Candidate, leadsOut } from './candidates.ts'
import { usableAddresses } from './usable-addresses.ts'

/** What the choice looks at: the host at one moment. */
export interface HostSnapshot {
  /** Only what may be chosen at all (`candidatesOf`). */
  readonly interfaces: readonly Candidate[]
  /** Device of the default route. */
  readonly defaultRoutes: ReadonlyMap<Family, string>
  /** Answer of the kernel to `ip route get` for `iface-can-reach`, where that was given and there is one. */
  readonly canReach?: { readonly device: string; readonly source: IpAddr } | undefined
}

export interface InterfaceOptions {
  readonly iface: readonly string[]
  /** Compiled Go regular expressions, unanchored. */
  readonly ifaceRegex: readonly { readonly source: string; readonly matches: (text: string) => boolean }[]
  readonly ifaceCanReach: IpAddr | undefined
  readonly publicIp: IpAddr | undefined
  readonly publicIpv6: IpAddr | undefined
}

/** What was chosen before: of what fits equally well it is chosen again. */
export interface Preference {
  readonly addresses: ReadonlyMap<Family, IpAddr>
  /** Whether it also stands for the answer of the routes, which may lead elsewhere for a moment. */
  readonly whateverRoutesSay: boolean
}

const NO_PREFERENCE: Preference = { addresses: new Map(), whateverRoutesSay: false }

/** No interface of this host is the one asked for; says what was looked for and what there is. */
export class NoInterfaceError extends Error {
  override readonly name = 'NoInterfaceError'
}

interface Question {
  readonly host: HostSnapshot
  readonly options: InterfaceOptions
  readonly families: readonly Family[]
  readonly preference: Preference
}

interface Found {
  readonly candidate: Candidate
  /** Addresses that the search itself decided on; the interface's best stand for the other families. */
  readonly fixed: readonly IpAddr[]
  readonly reason: string
}

/**
 * The interface that carries traffic between hosts (compatibility contract §1, "Interface"): every `iface` in order, then
 * every `iface-regex`, then `iface-can-reach`; without any of them the owner of the public address, else the device of
 * the default route. A match must have an address of each enabled family, else the search goes on. Within a search what is
 * preferred wins.
 *
 * @param families the enabled ones
 * @throws NoInterfaceError
 */
export function chooseExternalInterface(
  host: HostSnapshot,
  options: InterfaceOptions,
  families: readonly Family[],
  preference = NO_PREFERENCE,
): ExternalInterface {
  const question = { host, options, families, preference }
  const tried: string[] = []
  for (const { what, none, find } of searches(question)) {
    const found = find()
    const chosen = found === undefined ? undefined : complete(found, question)
    if (chosen !== undefined) return chosen
    const why = found === undefined ? none : `${found.candidate.name} lacks ${lacking(found, question)}`
    tried.push(why === undefined ? what : `${what} (${why})`)
  }
  throw new NoInterfaceError(`no interface fits ${tried.join(', ')}; this host has ${describe(host.interfaces)}`)
}

interface Search {
  readonly what: string
  /** Why nothing was found. */
  readonly none?: string
  readonly find: () => Found | undefined
}

function searches(question: Question): readonly Search[] {
  const { host, options, families } = question
  const { ifaceCanReach } = options
  const named: Search[] = [
    ...options.iface.map((word) => ({
      what: `--iface=${word}`,
      find: () => byNameOrAddress(host, word, `--iface=${word}`),
    })),
    ...options.ifaceRegex.map((regex) => ({
      what: `--iface-regex=${regex.source}`,
      find: () => byRegex(question, regex),
    })),
    ...(ifaceCanReach === undefined
      ? []
      : [
          {
            what: `--iface-can-reach=${ifaceCanReach}`,
            find: () => preferred(question) ?? byReach(question, ifaceCanReach),
          },
        ]),
  ]
  if (named.length > 0) return named
  const publicIp = families.map((family) => publicOption(options, family)).find((address) => address !== undefined)
  if (publicIp === undefined) {
    const none = defaultRouteWords(question)
    return [{ what: 'the default route', none, find: () => preferred(question) ?? byDefaultRoute(question) }]
  }
  const what = `the public address ${publicIp}`
  return [
    {
      what: `${what} (if it is not this host's own, name the interface by --iface)`,
      find: () => byNameOrAddress(host, publicIp, what),
    },
  ]
}

/** In place of an answer of the routes. */
function preferred(question: Question): Found | undefined {
  const candidate = question.preference.whateverRoutesSay ? ownerOfPreferred(question) : undefined
  return candidate && { candidate, fixed: [], reason: 'its address was in use before' }
}

function ownerOfPreferred({ host, families, preference }: Question): Candidate | undefined {
  for (const family of families) {
    const wanted = preference.addresses.get(family)
    const owner = host.interfaces.find((candidate) =>
      usableAddresses(candidate, family, preference.addresses.get(family)).some(({ address }) => address === wanted),
    )
    if (owner !== undefined) return owner
  }
  return undefined
}

function byNameOrAddress(host: HostSnapshot, word: string, what: string): Found | undefined {
  const named = host.interfaces.find(({ name }) => name === word)
  if (named !== undefined) return { candidate: named, fixed: [], reason: `${what} is its name` }
  const wanted = parseIp(word)
  if (wanted === undefined) return undefined
  const owner = host.interfaces.find(({ addresses }) => addresses.some(({ address }) => address === wanted))
  return owner && { candidate: owner, fixed: [wanted], reason: `${what} is its address` }
}

// Addresses of all interfaces first, then names. With both families one interface must match with an address of each.
function byRegex(question: Question, regex: InterfaceOptions['ifaceRegex'][number]): Found | undefined {
  const { host, families, preference } = question
  const owner = ownerOfPreferred(question)
  const byAddress = (candidate: Candidate): Found | undefined => {
    const fixed = families.map(
      (family) =>
        usableAddresses(candidate, family, preference.addresses.get(family)).find(({ address }) =>
          regex.matches(address),
        )?.address,
    )
    if (!fixed.every((address) => address !== undefined)) return undefined
    return { candidate, fixed, reason: `--iface-regex=${regex.source} matches its address ${fixed.join(' and ')}` }
  }
  const byName = (candidate: Candidate): Found | undefined =>
    candidate.loopback || !regex.matches(candidate.name)
      ? undefined
      : { candidate, fixed: [], reason: `--iface-regex=${regex.source} matches its name` }
  if (owner !== undefined) {
    const found = byAddress(owner)
    const isKept = found?.fixed.some((address) => preference.addresses.get(familyOf(address)) === address)
    const kept = (isKept ? found : undefined) ?? byName(owner)
    if (kept !== undefined && complete(kept, question) !== undefined) return kept
  }
  // A pattern may match what was never meant: Docker's 172.17.0.1, the service addresses of kube-proxy.
  const outward = new Set(host.interfaces.filter((each) => leadsOut(each, host.interfaces)))
  const inOrder = [...outward, ...host.interfaces.filter((each) => !outward.has(each))]
  return firstFound(inOrder, byAddress) ?? firstFound(inOrder, byName)
}

function firstFound(candidates: readonly Candidate[], find: (candidate: Candidate) => Found | undefined) {
  for (const candidate of candidates) {
    const found = find(candidate)
    if (found !== undefined) return found
  }
  return undefined
}

function byReach({ host, preference }: Question, target: IpAddr): Found | undefined {
  const candidate = host.interfaces.find(({ name }) => name === host.canReach?.device)
  if (candidate === undefined || host.canReach === undefined) return undefined
  const { source } = host.canReach
  const family = familyOf(source)
  const wanted = preference.addresses.get(family)
  const isKept = usableAddresses(candidate, family, wanted).some(({ address }) => address === wanted)
  const isOwn = host.interfaces.some(({ addresses }) => addresses.some(({ address }) => address === source))
  const address = isKept ? wanted : isOwn ? source : undefined
  const fixed = address === undefined ? [] : [address]
  return { candidate, fixed, reason: `the route to ${target} leads over it` }
}

function byDefaultRoute({ host, families }: Question): Found | undefined {
  const devices = new Set(families.map((family) => host.defaultRoutes.get(family)))
  const [device] = devices
  const candidate = devices.size === 1 ? host.interfaces.find(({ name }) => name === device) : undefined
  return (
    candidate && {
      candidate,
      fixed: [],
      reason: `the ${families.length > 1 ? 'IPv4 and IPv6 default routes lead' : 'default route leads'} over it`,
    }
  )
}

function defaultRouteWords({ host, families }: Question): string {
  const words = families.map((family) => {
    const device = host.defaultRoutes.get(family)
    return device === undefined ? `IPv${family} has none` : `that of IPv${family} leads over ${device}`
  })
  return `${words.join(', ')}; --iface names an interface in its place`
}

function complete(found: Found, { options, families, preference }: Question): ExternalInterface | undefined {
  const addresses = new Map<Family, IpAddr>()
  const publicIps = new Map<Family, IpAddr>()
  for (const family of families) {
    const address = addressFor(found, family, preference)
    if (address === undefined) return undefined
    addresses.set(family, address)
    publicIps.set(family, publicOption(options, family) ?? address)
  }
  // An address of a family that is not enabled names nothing that could be used.
  if (found.fixed.some((address) => !families.includes(familyOf(address)))) return undefined
  const { name, index, mtu } = found.candidate
  return { name, index, mtu, addresses, publicIps, reason: found.reason }
}

function addressFor(found: Found, family: Family, preference: Preference): IpAddr | undefined {
  return (
    found.fixed.find((address) => familyOf(address) === family) ??
    usableAddresses(found.candidate, family, preference.addresses.get(family))[0]?.address
  )
}

function lacking(found: Found, { families, preference }: Question): string {
  const missing = families.filter((family) => addressFor(found, family, preference) === undefined)
  if (missing.length === 0) return 'an address of the enabled family'
  return `a usable IPv${missing.join(' and IPv')} address`
}

function publicOption(options: InterfaceOptions, family: Family): IpAddr | undefined {
  return family === 4 ? options.publicIp : options.publicIpv6
}

function describe(interfaces: readonly Candidate[]): string {
  const shown = interfaces.filter(({ loopback }) => !loopback).slice(0, 20)
  if (shown.length === 0) return 'no interface but the loopback'
  const more = interfaces.length > 21 ? ', ...' : ''
  return `${shown.map(({ name, addresses }) => `${name} (${addresses.map(({ address }) => address).join(' ') || 'no address'})`).join(', ')}${more}`
}
