import { type Cidr, contains, firstHost, overlaps, prefixLength } from '../../lib/address.ts'
import { printable } from '../../lib/errors.ts'
import { remedyOfRefusal } from '../status/fault-conditions.ts'
import type { Condition } from '../status/status.ts'
import { type OwnNetwork, type StaleAddress, staleAddresses } from './bridge-addresses.ts'
import { bridgeOf, type CniNetwork, type FoundConfig, isOwnForm, parseConfig } from './conflist.ts'
import type { BridgeFacts, CniFacts } from './facts.ts'

export interface CniJudgement {
  /** Undefined: this daemon writes no conflist, and sees to the plugins only. */
  readonly network: CniNetwork | undefined
  readonly binDir: string
  readonly pluginsFrom: string | undefined
  /** Whether the runtime takes the first configuration of the directory, as Kubernetes' do; others choose by name. */
  readonly picksFirst: boolean
  /** Undefined: no lease yet. */
  readonly own: OwnNetwork | undefined
  /** Codes of the conditions that hold until now. */
  readonly held: ReadonlySet<string>
}

/** What of others keeps containers from this node's network; pure. */
export function cniConditions(facts: CniFacts, judged: CniJudgement): readonly Condition[] {
  const { network, own } = judged
  return [
    ...unreadableConditions(facts),
    ...pluginConditions(facts, judged),
    ...(network === undefined ? [] : configConditions(facts, { ...judged, network })),
    ...(network === undefined || own === undefined
      ? []
      : [...bridgeConditions(facts, own), ...poolConditions(facts, own, { ...judged, network })]),
  ]
}

function unreadableConditions({ unreadable }: CniFacts): readonly Condition[] {
  return unreadable.map(({ path, code, message }) => {
    const remedy =
      code === 'EACCES' || code === 'EPERM'
        ? `let the daemon read ${path}: mount it into its container, or give it the right to`
        : remedyOfRefusal(code)
    const text = `${path} cannot be read, what is in it is not judged: ${message}`
    return { code: `cni-unreadable ${path}`, severity: 'warning', text, remedy }
  })
}

function pluginConditions({ plugins }: CniFacts, { binDir, pluginsFrom }: CniJudgement): readonly Condition[] {
  if (plugins.size === 0) return []
  const why = [...plugins].map(([name, reason]) => `${name} (${reason})`).join(', ')
  const remedy =
    pluginsFrom === undefined
      ? 'install them (Debian: containernetworking-plugins), name their directory by --cni-bin-dir, or have them copied from one by --cni-plugins-from'
      : `let the daemon write in ${binDir} and let ${pluginsFrom} hold them; it is tried again every few seconds`
  const text = `CNI plugins cannot be run in ${binDir}, so no container gets a network: ${why}`
  return [{ code: 'cni-plugins', severity: 'warning', text, remedy }]
}

function configConditions(
  { configs }: CniFacts,
  { network, picksFirst, own }: CniJudgement & { readonly network: CniNetwork },
): readonly Condition[] {
  const { confFile, name } = network
  const end = confFile.lastIndexOf('/')
  const [directory, ownName] = [confFile.slice(0, end), confFile.slice(end + 1)]
  const others = configs
    .filter((config) => config.name !== ownName)
    .map((config) => ({ ...config, found: config.text === undefined ? undefined : parseConfig(config.text) }))
  const rivals = others.filter(({ found }) => !handsOn(found, network))
  const named = (list: typeof others) => {
    const texts = list.map(({ name: file, found }) => `${directory}/${plain(file)} (${configWords(found)})`)
    return few(texts)
  }
  const first = rivals.filter((config) => config.name < ownName)
  const same = rivals.filter(({ found }) => found?.network === name)
  const stale = others.filter(({ found }) => found !== undefined && own !== undefined && isStale(found, own))
  return [
    ...condition('cni-config-first', first, () => ({
      severity: picksFirst ? 'warning' : 'info',
      text: `${named(first)} sorts before ${ownName}: a runtime that takes the first configuration puts containers into that network, not into this node's`,
      remedy: `if containers shall be in this network, remove it or name it otherwise (mv FILE FILE.off), or name a file that sorts before it by --cni-conf-file; it is left alone here`,
    })),
    ...condition('cni-network-twice', same, () => ({
      severity: 'warning',
      text: `${named(same)} describes a network ${name}, too: which of them a runtime takes is chance, and both hand out the same addresses`,
      remedy: `remove it (mv FILE FILE.off), or name this network otherwise by --cni-network; it is left alone here`,
    })),
    ...condition('cni-config-stale', stale, () => ({
      severity: 'warning',
      text: `${named(stale)} hands out addresses that are not this node's: it leases ${[...(own?.subnets.values() ?? [])].join(', ')}, and no packet comes back to others of its network`,
      remedy: 'remove it (mv FILE FILE.off), and make its containers anew; it is left alone here',
    })),
  ]
}

/** `why`: the system's reason. */
export function formerCondition({ confFile, name }: CniNetwork, why: string): Condition {
  return {
    code: `cni-former ${confFile}`,
    severity: 'warning',
    text: `the CNI configuration of an earlier start cannot be removed, a runtime may still give containers its network ${name}: ${why}`,
    remedy: `remove ${confFile}, or let the daemon write in its directory; it is tried again every few seconds`,
  }
}

/** Plugins that give a container the network of the next configuration, and others beside it. Source: k8snetworkplumbingwg/multus-cni, thin and thick. */
const META = new Set(['multus', 'multus-shim'])

/** By it containers are in this network as well: it calls the configuration of it, or is a copy with plugins behind (istio's 02-istio-cni.conflist). */
function handsOn(found: FoundConfig | undefined, { name }: CniNetwork): boolean {
  if (found === undefined) return false
  return found.plugins.some((type) => META.has(type)) || (isOwnForm(found, name) && found.plugins.length > 2)
}

function condition(code: string, found: readonly unknown[], rest: () => Omit<Condition, 'code'>): readonly Condition[] {
  return found.length === 0 ? [] : [{ code, ...rest() }]
}

function configWords(found: FoundConfig | undefined): string {
  if (found === undefined) return 'no network configuration: containerd then takes none of the directory'
  const subnets = [...found.subnets.values()].flat()
  const words = `network ${printable(found.network)}, plugins ${printable(found.plugins.join(' '))}`
  return subnets.length === 0 ? words : `${words}, subnet ${subnets.slice(0, 4).join(', ')}`
}

/** An earlier lease: inside the network, and beside the subnet of this node. */
function isStale({ subnets }: FoundConfig, { networks, subnets: own }: OwnNetwork): boolean {
  return [...subnets].some(([family, list]) => {
    const mine = own.get(family)
    return list.some((subnet) => networks.some((network) => contains(network, subnet)) && !isPart(mine, subnet))
  })
}

function isPart(own: Cidr | undefined, subnet: Cidr): boolean {
  return own !== undefined && overlaps(own, subnet)
}

const MOST_NAMED = 8

function few(texts: readonly string[]): string {
  const more = texts.length - MOST_NAMED
  return `${texts.slice(0, MOST_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

/** As one line, whatever is in it. */
function plain(text: string): string {
  return printable(text).slice(1, -1)
}

function bridgeConditions({ bridge, reservations }: CniFacts, own: OwnNetwork): readonly Condition[] {
  const stale = staleAddresses(bridge, reservations, own)
  if (bridge === undefined || stale.length === 0) return []
  const wanted = [...own.subnets.values()].map((subnet) => `${firstHost(subnet)}/${prefixLength(subnet)}`)
  const text = `${bridge.name} has ${stale.map(staleWords).join('; ')}; the bridge plugin refuses every new container until it has ${wanted.join(' and ')} instead`
  return [{ code: 'cni-bridge-address', severity: 'warning', text, remedy: bridgeRemedy(bridge, stale) }]
}

function staleWords({ address, length, holders }: StaleAddress): string {
  const held = few(holders.map((one) => `${one.address} by ${plain(one.container).slice(0, 64)}`))
  return `${address}/${length}, which is not of this node's subnet${held === '' ? '' : `; on record with host-local: ${held}`}`
}

function bridgeRemedy({ name, ports }: BridgeFacts, stale: readonly StaleAddress[]): string {
  const commands = stale.map(({ address, length }) => `ip address delete ${address}/${length} dev ${name}`).join('; ')
  const networks = [...new Set(stale.flatMap(({ holders }) => holders.map(({ network }) => network)))]
  if (networks.length === 0) {
    return ports === 0
      ? `${commands}; the daemon may not`
      : `delete the containers of ${name} (${ports} ports) that host-local has not on record, then: ${commands}`
  }
  return `delete these containers, other nodes do not reach them: then the address goes by itself; of containers that are gone already remove the file, /var/lib/cni/networks/${networks.length === 1 ? plain(networks[0] ?? '') : 'NETWORK'}/ADDRESS`
}

/** From the first on a subnet counts as used up, until it is below the second: pods that come and go say nothing new. */
const [FULL, ROOMY] = [0.9, 0.8]
const POOL = 'cni-addresses'

/**
 * host-local frees an address only where the runtime deletes the container: after a reboot or a crash many are on record for nobody. Numbers
 * that change with each container are left out.
 */
function poolConditions(
  { reservations, bridge }: CniFacts,
  own: OwnNetwork,
  { network: { name }, held: before }: { readonly network: CniNetwork; readonly held: ReadonlySet<string> },
): readonly Condition[] {
  const subnet = own.subnets.get(4)
  if (subnet === undefined) return []
  // Without the network's, the gateway's and the broadcast address. Of a /31 or /32 host-local gives none away.
  const all = 2 ** (32 - prefixLength(subnet)) - 3
  const held = reservations.filter((one) => one.network === name && contains(subnet, one.address)).length
  if (all < 1 || held < all * (before.has(POOL) ? ROOMY : FULL)) return []
  const isOfTheDead = held - (bridge?.ports ?? 0) > held / 2
  const whose = isOfTheDead ? 'that are gone' : `that hang on ${bridge?.name ?? bridgeOf(name)}`
  const text = `nearly all of the ${all} addresses of ${subnet} are on record with host-local, most for containers ${whose}: new ones soon get none`
  const remedy = isOfTheDead
    ? `they have been left by a reboot or a crash of the runtime: compare /var/lib/cni/networks/${name} with the containers that run, and remove the files of the others`
    : 'fewer containers on this host, or larger subnets (SubnetLen; in Kubernetes --node-cidr-mask-size)'
  return [{ code: POOL, severity: 'warning', text, remedy }]
}
