import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { type Cidr, cidrOf, contains, parseInterfaceCidr } from '../../lib/address.ts'
import type { BaseChain } from '../netlink/nftables-messages.ts'
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_PRE_ROUTING,
  netfilterFamily,
} from '../netlink/nftables-messages.ts'
import type { SavedRules } from '../rules/iptables-text.ts'
import { instanceOfGuard, instanceOfTable } from '../rules/names.ts'
import { runProgram } from '../rules/program.ts'
import { type RuleSets, WORLDS } from '../rules/rule-sets.ts'
import { forwardingObstacles } from './arrival-obstacles.ts'
import { DOCKER_TABLE } from './docker-direct.ts'
import { isDockers, markOfDocker, type PacketMark } from './docker-forward.ts'
import type { ForeignChain, ForeignRules } from './foreign-rules.ts'
import { allWaysOut, type NftExpressions, waysOut } from './nft-rule.ts'
import { obstaclesOf } from './obstacles.ts'
import type { Obstacle, PacketPath } from './packet-path.ts'

/** Finds out which of our packets somebody else's rules drop: by reading alone, a foreign rule is never moved nor removed. */
export class ObstacleReader {
  readonly #sets: RuleSets
  #chains: { readonly generation: number | undefined; readonly found: readonly FoundChain[] } | undefined

  #mark: { readonly generation: number | undefined; readonly found: PacketMark | undefined } | undefined

  constructor(needs: { sets: RuleSets }) {
    this.#sets = needs.sets
  }

  /** For each path, in order, what stands in its way. Runs programs only where rules have changed since the last time. @throws OpFailure */
  async read(paths: readonly PacketPath[]): Promise<readonly (readonly Obstacle[])[]> {
    const found: (readonly Obstacle[])[] = []
    for (const path of paths) {
      const { hook, family } = path
      const iptables: { world: (typeof WORLDS)[number]; rules: SavedRules }[] = []
      for (const world of WORLDS) {
        // What cannot be read is said where rules of ours are in it.
        const rules = await this.#sets
          .iptables(world, family)
          .read()
          .catch(() => undefined)
        if (rules !== undefined) iptables.push({ world, rules })
      }
      const families: readonly string[] = ['inet', netfilterFamily(family)]
      const hooks = HOOKS_OF[hook]
      const chains = hooks.length === 0 ? [] : await this.#foreignChains()
      const here = chains.filter(({ family, chain }) => families.includes(family) && hooks.includes(chain.hook ?? ''))
      const devices = here.some(({ chain }) => isDockers(chain)) ? devicesIn(path.network) : new Set<string>()
      const foreign = { iptables, chains: here.map(({ chain }) => chain), devices }
      const obstacles = await this.#confirmed(path, foreign, obstaclesOf(path, foreign))
      if (path.arrival !== undefined && family === 4) {
        found.push([...(await forwardingObstacles(path.arrival)), ...obstacles])
        continue
      }
      const closed = family === 6 && hook === 'forward' && !(await forwardsIpv6())
      found.push(closed ? [NO_FORWARDING, ...obstacles] : obstacles)
    }
    return found
  }

  /** The mark with which Docker lets packets to its containers; undefined: Docker has no table of nftables, or takes none. @throws OpFailure */
  async dockerMark(): Promise<PacketMark | undefined> {
    const generation = await this.#sets.netfilter.generation()
    if (this.#mark !== undefined && generation !== undefined && this.#mark.generation === generation)
      return this.#mark.found
    let found: PacketMark | undefined
    for (const { family, name } of await this.#sets.netfilter.tables())
      if (name === DOCKER_TABLE) found ??= markOfDocker(await listRules(['table', family, name]))
    this.#mark = { generation, found }
    return found
  }

  /** Without those that are only there because iptables does not print all conditions of a rule. */
  async #confirmed(path: PacketPath, foreign: ForeignRules, found: readonly Obstacle[]): Promise<readonly Obstacle[]> {
    if (found.length === 0) return found
    const iptables = foreign.iptables.map(async ({ world, rules }) => {
      const full = this.#sets.iptables(world, path.family).readInFull()
      return { world, rules: await full.catch(() => rules) }
    })
    const inFull = await Promise.all(iptables)
    const confirmed = obstaclesOf(path, { ...foreign, iptables: inFull })
    // Of chains that come after the first one, as ufw's: what opens the way may be written there.
    if (path.outer !== undefined && confirmed.length > 0) {
      const chains = inFull.flatMap(({ rules }) =>
        [...(rules.get('filter')?.keys() ?? [])].filter((name) => /^ufw/.test(name)),
      )
      const ip = netfilterFamily(path.family)
      this.#sets.monitor.chainsOfOthers = new Set([
        ...this.#sets.monitor.chainsOfOthers,
        ...chains.map((name) => `${ip} filter ${name}`),
      ])
    }
    return confirmed
  }

  async #foreignChains(): Promise<readonly FoundChain[]> {
    const generation = await this.#sets.netfilter.generation()
    if (this.#chains !== undefined && generation !== undefined && this.#chains.generation === generation)
      return this.#chains.found
    const found: FoundChain[] = []
    for (const base of await this.#sets.netfilter.baseChains()) {
      const hook = HOOKS[base.hook]
      if (hook === undefined || isKnown(base)) continue
      if (hook === 'prerouting' && base.table !== DOCKER_TABLE) continue
      // It has thousands of chains, and closes no port.
      if (hook === 'input' && base.table === 'kube-proxy') continue
      found.push({ family: base.family, chain: { hook, ...(await readChain(base, hook)) } })
    }
    this.#chains = { generation, found }
    this.#sets.monitor.chainsOfOthers = new Set(found.flatMap(({ chain }) => [chain.name, ...innerNames(chain)]))
    return found
  }
}

type Hook = NonNullable<ForeignChain['hook']>
const HOOKS: Readonly<Record<number, Hook>> = {
  [NF_INET_PRE_ROUTING]: 'prerouting',
  [NF_INET_LOCAL_IN]: 'input',
  [NF_INET_FORWARD]: 'forward',
}
/** Where chains of nftables decide about packets of a path. */
const HOOKS_OF: Readonly<Record<PacketPath['hook'], readonly string[]>> = {
  forward: ['prerouting', 'forward'],
  input: ['input'],
  postrouting: [],
}

const IPV6_FORWARDING = '/proc/sys/net/ipv6/conf/all/forwarding'
const NO_FORWARDING: Obstacle = {
  text: 'IPv6 forwarding is off',
  command:
    'sysctl -w net.ipv6.conf.all.forwarding=1 (set accept_ra=2 first on interfaces that learn their default route from a router)',
}

async function forwardsIpv6(): Promise<boolean> {
  const text = await readFile(IPV6_FORWARDING, 'utf8').catch(() => '0')
  return text.trim() !== '0'
}

/** A bridge without containers, which is not among them, drops nothing that anybody waits for. */
function devicesIn(network: Cidr): ReadonlySet<string> {
  const devices = Object.entries(networkInterfaces()).filter(([, addresses]) =>
    (addresses ?? []).some(({ cidr }) => {
      const parsed = parseInterfaceCidr(cidr ?? '')
      return parsed !== undefined && contains(network, cidrOf(parsed.address, parsed.length))
    }),
  )
  return new Set(devices.map(([name]) => name))
}

/** As chains are called in events. */
function innerNames({ name, inner }: ForeignChain): readonly string[] {
  const table = name.slice(0, name.lastIndexOf(' '))
  return [...(inner?.keys() ?? [])].map((chain) => `${table} ${chain}`)
}

interface FoundChain {
  readonly family: string
  readonly chain: ForeignChain
}

// Ours, and what iptables-nft shows better.
function isKnown({ family, table, name }: BaseChain): boolean {
  const isOurs = instanceOfTable(table) !== undefined || instanceOfGuard(table) !== undefined
  return isOurs || (family !== 'inet' && (name === 'FORWARD' || name === 'INPUT'))
}

interface ListedRule {
  readonly chain: string
  readonly expr?: NftExpressions
}

/** The chain with those that it leads to. kube-proxy's has thousands beside it and leads to none of them by addresses alone. */
async function readChain({ family, table, name, policy }: BaseChain, hook: Hook): Promise<ForeignChain> {
  const chain = { name: `${family} ${table} ${name}`, policy }
  try {
    const rules = (await listRules(['chain', family, table, name])).get(name) ?? []
    // A packet that is known is followed on conditions, too; not through kube-proxy's thousands, which drop none by its device.
    const ways = table === 'kube-proxy' ? waysOut : allWaysOut
    // Docker's lead on by maps of devices.
    const isDockersForward = table === DOCKER_TABLE && hook === 'forward'
    if (ways(rules).length === 0 && !isDockersForward) return { ...chain, rules }
    const all = await listRules(['table', family, table])
    if (isDockersForward) return { ...chain, rules, inner: all }
    const inner = new Map<string, NftExpressions[]>()
    // Grows while it is gone through.
    const reached = new Set(ways(rules))
    for (const other of reached) {
      const here = all.get(other) ?? []
      inner.set(other, here)
      for (const next of ways(here)) reached.add(next)
    }
    return { ...chain, rules, inner }
  } catch {
    // The policy is known without nft.
    return { ...chain, rules: [] }
  }
}

async function listRules(what: readonly string[]): Promise<ReadonlyMap<string, NftExpressions[]>> {
  const found = new Map<string, NftExpressions[]>()
  const text = await runProgram('nft', ['-j', 'list', ...what])
  for (const { rule } of (JSON.parse(text) as { nftables: readonly { rule?: ListedRule }[] }).nftables) {
    if (rule === undefined) continue
    const rules = found.get(rule.chain) ?? []
    found.set(rule.chain, rules)
    rules.push(rule.expr ?? [])
  }
  return found
}
