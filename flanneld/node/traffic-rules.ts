import type { IptablesChain, IptablesJump } from '../../kernel/kinds/iptables-chain/kind.ts'
import type { NftChain } from '../../kernel/kinds/nft-table/kind.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import type { PacketMark } from '../../kernel/obstacles/docker-forward.ts'
import type { IptablesWorld } from '../../kernel/rules/iptables-words.ts'
import {
  FORWARD_CHAIN,
  FORWARD_COMMENT,
  MARK_COMMENT,
  MARK_TABLES,
  MASQUERADE_CHAIN,
  MASQUERADE_COMMENT,
  NFT_CHAINS,
  NFT_TABLES,
  namedFor,
} from '../../kernel/rules/names.ts'
import { markedRules, nftFamily, nftName } from '../../kernel/rules/nft-text.ts'
import { type Cidr, FAMILIES, type Family, familyOf, hostCidr } from '../../lib/address.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Lease } from '../../subnet/types.ts'
import type { OwnPackets } from './own-packets.ts'

/** Which packets are masqueraded and forwarded, and with which tool the kernel is told. */
export interface TrafficOptions {
  readonly masquerade: boolean
  readonly randomFully: boolean
  /** Destinations of either family that keep the sender's address. */
  readonly exempt: readonly Cidr[]
  readonly forward: boolean
  readonly tool: 'nftables' | 'iptables'
  /** Where rules of iptables go; in nftables mode only those that open Docker's chain. */
  readonly world: IptablesWorld
  /** With which Docker lets packets to its containers, where its rules are of nftables. */
  readonly dockerMark?: PacketMark
  /** Stands in the names of chains and tables; empty for the default instance. */
  readonly instance: string
}

/** One rule, whatever the tool. Conditions are joined by "and". */
interface TrafficRule {
  readonly marked?: true
  readonly from?: Side
  readonly to?: Side
  /** The device that it leaves by. */
  readonly by?: string | { readonly not: string } | undefined
  readonly verdict: 'return' | 'accept' | 'masquerade'
}

type Side = Cidr | { readonly not: Cidr }

/** Set by kube-proxy on what it masquerades itself. */
const KUBE_MARK = '0x4000'
const MULTICAST: Readonly<Record<Family, Cidr>> = { 4: '224.0.0.0/4' as Cidr, 6: 'ff00::/8' as Cidr }

/** Everything of the packet filters that this host shall hold. `hosts`: this host's own packets, where it lives inside the network. Pure. */
export function trafficObjects(
  network: NetworkConfig,
  own: Lease,
  options: TrafficOptions,
  hosts: ReadonlyMap<Family, OwnPackets> = new Map(),
): readonly DesiredObject[] {
  if (!options.masquerade && !options.forward) return []
  const objects: DesiredObject[] = []
  for (const family of FAMILIES) {
    const net = network.families.get(family)?.network
    const subnet = own.families.get(family)?.subnet
    const part = net === undefined || subnet === undefined ? undefined : { net, subnet, host: hosts.get(family) }
    if (options.tool === 'nftables') objects.push(nftTable(family, part, options))
    if (part === undefined) continue
    if (options.tool === 'iptables') objects.push(...iptablesChains(family, part, options))
    else if (options.forward) objects.push(dockerOpening(family, part.net, options))
    if (options.forward && options.dockerMark) objects.push(markTable(family, part.net, options.dockerMark, options))
    objects.push(...forwardingSysctls(family, options))
  }
  return objects
}

interface Part {
  readonly net: Cidr
  readonly subnet: Cidr
  readonly host: OwnPackets | undefined
}

function masqueradeRules(family: Family, { net, subnet, host }: Part, exempt: readonly Cidr[]): readonly TrafficRule[] {
  return [
    // They have the host's address already; masqueraded, tunnels would lose their source ports. Into the tunnel they go on getting its
    // address, without which containers would answer by another way.
    ...(host?.sources ?? []).flatMap((from) => hostRules(hostCidr(from), host?.tunnels ?? [])),
    { marked: true, verdict: 'return' },
    // Inside the overlay containers see each other's addresses.
    { from: subnet, to: net, verdict: 'return' },
    { from: net, to: subnet, verdict: 'return' },
    // What comes in from outside keeps its address on the last host.
    { from: { not: net }, to: subnet, verdict: 'return' },
    ...exempt.filter((cidr) => familyOf(cidr) === family).map((to) => ({ to, verdict: 'return' }) as const),
    { from: net, to: { not: MULTICAST[family] }, verdict: 'masquerade' },
    // A host address as sender: peers could not answer it through the overlay.
    { from: { not: net }, to: net, verdict: 'masquerade' },
  ]
}

/** Of several tunnels each needs a rule: iptables knows one device in a rule. */
function hostRules(from: Cidr, [tunnel, ...more]: readonly string[]): readonly TrafficRule[] {
  if (more.length === 0) return [{ from, by: tunnel === undefined ? undefined : { not: tunnel }, verdict: 'return' }]
  const into = [tunnel, ...more].map((by): TrafficRule => ({ from, by, verdict: 'masquerade' }))
  return [...into, { from, verdict: 'return' }]
}

function forwardRules({ net }: Pick<Part, 'net'>): readonly TrafficRule[] {
  return [
    { from: net, verdict: 'accept' },
    { to: net, verdict: 'accept' },
  ]
}

/** Both families always have their table, as flannel makes them. */
function nftTable(family: Family, part: Part | undefined, options: TrafficOptions): DesiredObject {
  const chains: NftChain[] = []
  const ip = nftFamily(family)
  if (part !== undefined && options.masquerade) {
    const texts = masqueradeRules(family, part, options.exempt).map((rule) => nftText(rule, ip, options.randomFully))
    const rules = markedRules(MASQUERADE_COMMENT, texts)
    // NF_IP_PRI_NAT_SRC
    chains.push({
      name: NFT_CHAINS.masquerade,
      type: 'nat',
      hook: 'postrouting',
      priority: 100,
      policy: 'accept',
      rules,
    })
  }
  if (part !== undefined && options.forward) {
    const rules = markedRules(
      FORWARD_COMMENT,
      forwardRules(part).map((rule) => nftText(rule, ip, options.randomFully)),
    )
    chains.push({ name: NFT_CHAINS.forward, type: 'filter', hook: 'forward', priority: 0, policy: 'accept', rules })
  }
  const name = namedFor(options.instance, NFT_TABLES[family])
  return { kind: 'nft-table', role: { class: 'required', family }, family, name, chains }
}

function nftText({ marked, from, to, by, verdict }: TrafficRule, ip: string, randomFully: boolean): string {
  const side = (field: string, value: Side | undefined) => {
    if (value === undefined) return []
    return [typeof value === 'string' ? `${ip} ${field} ${value}` : `${ip} ${field} != ${value.not}`]
  }
  const mark = marked ? [`meta mark & ${KUBE_MARK} == ${KUBE_MARK}`] : []
  const action = verdict === 'masquerade' && randomFully ? 'masquerade fully-random' : verdict
  const out =
    by === undefined ? [] : [typeof by === 'string' ? `oifname ${nftName(by)}` : `oifname != ${nftName(by.not)}`]
  return [...mark, ...side('saddr', from), ...side('daddr', to), ...out, action].join(' ')
}

function iptablesChains(family: Family, part: Part, options: TrafficOptions): readonly DesiredObject[] {
  const chains: DesiredObject[] = []
  const { world, randomFully } = options
  const required = { kind: 'iptables-chain', role: { class: 'required', family } } as const
  if (options.masquerade) {
    const name = namedFor(options.instance, MASQUERADE_CHAIN)
    const rules = masqueradeRules(family, part, options.exempt).map((rule) =>
      iptablesText(rule, MASQUERADE_COMMENT, randomFully),
    )
    // Appended: beside kube-proxy it stands behind KUBE-POSTROUTING.
    const jumps = [jumpFrom('POSTROUTING', name, MASQUERADE_COMMENT)]
    chains.push({ ...required, world, family, table: 'nat', name, rules, jumps })
  }
  if (options.forward)
    chains.push({ ...required, ...forwardChain(family, part.net, options), jumps: forwardJumps(options) })
  return chains
}

function forwardJumps({ instance }: TrafficOptions): readonly IptablesJump[] {
  const name = namedFor(instance, FORWARD_CHAIN)
  // Docker drops before FORWARD ends, and asks its users to let things through there.
  return [jumpFrom('FORWARD', name, FORWARD_COMMENT), dockerJump(name)]
}

/** An accept of our own nftables table cannot undo what Docker's iptables rules drop. */
function dockerOpening(family: Family, net: Cidr, options: TrafficOptions): DesiredObject {
  const chain = forwardChain(family, net, options)
  const remedy = `let traffic from and to ${net} through in the chain DOCKER-USER`
  return {
    kind: 'iptables-chain',
    role: { class: 'advisory', remedy },
    ...chain,
    jumps: [dockerJump(chain.name)],
    onlyBeside: 'DOCKER-USER',
  }
}

/**
 * No accept counts in Docker's own table of nftables: it drops but for what bears its mark (`docker-forward.ts`). To the same packets as
 * with iptables: what goes to the network.
 */
function markTable(family: Family, net: Cidr, { mark, mask }: PacketMark, { instance }: TrafficOptions): DesiredObject {
  const rest = ~mask >>> 0
  const set = rest === 0 ? hex(mark) : `meta mark & ${hex(rest)} ^ ${hex(mark)}`
  const text = `${nftFamily(family)} daddr ${net} meta mark set ${set}`
  return {
    kind: 'nft-table',
    role: {
      class: 'advisory',
      remedy: `set Docker's mark ${hex(mark)} on what goes to ${net}, before the forward chain of Docker's table`,
    },
    family,
    name: namedFor(instance, MARK_TABLES[family]),
    chains: [
      {
        name: NFT_CHAINS.mark,
        type: 'filter',
        hook: 'forward',
        // Before Docker's, at 0.
        priority: -1,
        policy: 'accept',
        rules: markedRules(MARK_COMMENT, [text]),
      },
    ],
  }
}

function hex(bits: number): string {
  return `0x${bits.toString(16)}`
}

function forwardChain(
  family: Family,
  net: Cidr,
  { world, instance, randomFully }: TrafficOptions,
): Pick<IptablesChain, 'world' | 'family' | 'table' | 'name' | 'rules'> {
  const rules = forwardRules({ net }).map((rule) => iptablesText(rule, FORWARD_COMMENT, randomFully))
  return { world, family, table: 'filter', name: namedFor(instance, FORWARD_CHAIN), rules }
}

function dockerJump(target: string): IptablesJump {
  return { ...jumpFrom('DOCKER-USER', target, FORWARD_COMMENT), place: 'first', optional: true }
}

function jumpFrom(from: string, target: string, comment: string): IptablesJump {
  return { from, rule: `${commentMatch(comment)} -j ${target}`, place: 'last' }
}

function iptablesText({ marked, from, to, by, verdict }: TrafficRule, comment: string, randomFully: boolean): string {
  const side = (option: string, value: Side | undefined) => {
    if (value === undefined) return []
    return [typeof value === 'string' ? `${option} ${value}` : `! ${option} ${value.not}`]
  }
  const mark = marked ? [`-m mark --mark ${KUBE_MARK}/${KUBE_MARK}`] : []
  const random = verdict === 'masquerade' && randomFully ? ' --random-fully' : ''
  const action = `-j ${verdict.toUpperCase()}${random}`
  const out = by === undefined ? [] : [typeof by === 'string' ? `-o ${by}` : `! -o ${by.not}`]
  return [...side('-s', from), ...side('-d', to), ...out, ...mark, commentMatch(comment), action].join(' ')
}

function commentMatch(comment: string): string {
  return `-m comment --comment "${comment}"`
}

function forwardingSysctls(family: Family, { tool, forward }: TrafficOptions): readonly DesiredObject[] {
  const sysctls: DesiredObject[] = []
  // IPv6 forwarding is only looked at (`ObstacleReader`): switched on, the kernel no longer learns default routes from routers.
  if (forward && family === 4) {
    const path = 'net/ipv4/ip_forward'
    const remedy = `sysctl -w ${path.replaceAll('/', '.')}=1`
    sysctls.push({ kind: 'sysctl', role: { class: 'advisory', remedy }, path, value: '1' })
  }
  if (tool === 'iptables') {
    // Without it packets between containers of one bridge pass by the rules of Services.
    const path = `net/bridge/bridge-nf-call-${family === 4 ? 'iptables' : 'ip6tables'}`
    const remedy = `modprobe br_netfilter && sysctl -w ${path.replaceAll('/', '.')}=1`
    sysctls.push({ kind: 'sysctl', role: { class: 'advisory', remedy }, path, value: '1' })
  }
  return sysctls
}
