import { readFile } from 'node:fs/promises'
import type { BaseChain } from '../netlink/nftables-messages.ts'
import { NF_INET_FORWARD, netfilterFamily } from '../netlink/nftables-messages.ts'
import type { SavedRules } from '../rules/iptables-text.ts'
import { instanceOfGuard, instanceOfTable } from '../rules/names.ts'
import { type NftExpressions, waysOut } from '../rules/nft-rule.ts'
import type { ClearPath, Obstacle } from '../rules/objects.ts'
import { type ForeignChain, obstaclesOf } from '../rules/obstacles.ts'
import { runProgram } from '../rules/program.ts'
import { type RuleSets, WORLDS } from '../rules/rule-sets.ts'
import type { ObjectTable, Op, OpResult } from '../table.ts'

/** What other people's rules do to our packets: read only, because a foreign rule is never moved nor removed. */
export class ClearPathTable implements ObjectTable<ClearPath> {
  readonly kind = 'clear-path'
  readonly #sets: RuleSets
  #chains: { readonly generation: number | undefined; readonly found: readonly FoundChain[] } | undefined

  constructor(needs: { sets: RuleSets }) {
    this.#sets = needs.sets
  }

  async dump(wanted: Iterable<ClearPath>): Promise<readonly ClearPath[]> {
    const paths: ClearPath[] = []
    for (const { kind, hook, family, network } of wanted) {
      const path = { kind, hook, family, network }
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
      const chains = hook === 'forward' ? await this.#forwardChains() : []
      const here = chains.filter((chain) => families.includes(chain.family)).map(({ chain }) => chain)
      const obstacles = obstaclesOf(path, { iptables, chains: here })
      const closed = family === 6 && hook === 'forward' && !(await forwardsIpv6())
      paths.push({ ...path, obstacles: closed ? [NO_FORWARDING, ...obstacles] : obstacles })
    }
    return paths
  }

  async apply(ops: readonly Op<ClearPath>[]): Promise<readonly OpResult[]> {
    return ops.map((op) => {
      const obstacles = op.verb === 'update' ? op.actual.obstacles : []
      const message = obstacles
        .map(({ text, command }) => (command === '' ? text : `${text}; open it with: ${command}`))
        .join('; ')
      return { ok: false, error: { code: 'EACCES', message } }
    })
  }

  async #forwardChains(): Promise<readonly FoundChain[]> {
    const generation = await this.#sets.netfilter.generation()
    if (this.#chains !== undefined && generation !== undefined && this.#chains.generation === generation)
      return this.#chains.found
    const found: FoundChain[] = []
    for (const base of await this.#sets.netfilter.baseChains()) {
      if (base.hook !== NF_INET_FORWARD || isKnown(base)) continue
      found.push({ family: base.family, chain: await readChain(base) })
    }
    this.#chains = { generation, found }
    this.#sets.watched = new Set(found.flatMap(({ chain }) => [chain.name, ...innerNames(chain)]))
    return found
  }
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
  return isOurs || (family !== 'inet' && name === 'FORWARD')
}

interface ListedRule {
  readonly chain: string
  readonly expr?: NftExpressions
}

/** The chain with those that it leads to. kube-proxy's has thousands beside it and leads to none of them by addresses alone. */
async function readChain({ family, table, name, policy }: BaseChain): Promise<ForeignChain> {
  const chain = { name: `${family} ${table} ${name}`, policy }
  try {
    const rules = (await listRules(['chain', family, table, name])).get(name) ?? []
    if (waysOut(rules).length === 0) return { ...chain, rules }
    const all = await listRules(['table', family, table])
    const inner = new Map<string, NftExpressions[]>()
    // Grows while it is gone through.
    const reached = new Set(waysOut(rules))
    for (const other of reached) {
      const here = all.get(other) ?? []
      inner.set(other, here)
      for (const next of waysOut(here)) reached.add(next)
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
