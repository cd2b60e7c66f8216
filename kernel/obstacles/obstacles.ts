import { type Cidr, contains, overlaps } from '../../lib/address.ts'
import type { SavedRules, SavedTable } from '../rules/iptables-text.ts'
import { type IptablesWorld, programName } from '../rules/iptables-words.ts'
import { arrivalObstacles } from './arrival-obstacles.ts'
import { directAccessObstacles, directAccessRules } from './docker-direct.ts'
import { dockerForwardObstacles, isDockers } from './docker-forward.ts'
import { type ForeignRule, leadsToUs, readRule, verdictOf } from './foreign-rule.ts'
import type { ForeignChain, ForeignRules } from './foreign-rules.ts'
import { readNftRule } from './nft-rule.ts'
import type { Obstacle, PacketPath } from './packet-path.ts'
import { DIRECTIONS, dropOf, type WalkRule } from './packet-walk.ts'
import { tunnelObstacles } from './tunnel-obstacles.ts'

const MOST = 5
const MULTICAST = '224.0.0.0/4'

/**
 * What stands in the way of the network's packets, by reading alone. Looks at rules without further conditions, in the chains that
 * packets enter first and those that these lead to: what a rule with a port or an interface does cannot be said of all traffic.
 */
export function obstaclesOf(path: PacketPath, foreign: ForeignRules): readonly Obstacle[] {
  const found: Obstacle[] = []
  if (path.outer !== undefined) return tunnelObstacles(path, path.outer, foreign)
  if (path.arrival !== undefined) return arrivalObstacles(path, path.arrival, foreign)
  for (const { world, rules } of foreign.iptables) {
    const program = programName({ world, family: path.family })
    const raw = rules.get('raw')?.get('PREROUTING')?.rules ?? []
    if (path.hook === 'forward') found.push(...directAccessObstacles(`${program} -t raw PREROUTING`, raw, path.network))
    found.push(...(path.hook === 'forward' ? forwardObstacles : postroutingObstacles)(path, world, rules))
  }
  for (const chain of path.hook === 'forward' ? foreign.chains : []) {
    const isBefore = chain.hook === 'prerouting'
    if (!isBefore && isDockers(chain)) found.push(...dockerForwardObstacles(chain, foreign.devices ?? new Set()))
    found.push(...(isBefore ? dockerObstacles(path.network, chain) : chainObstacles(path, chain)))
  }
  return found.slice(0, MOST)
}

function forwardObstacles(
  { network, family }: PacketPath,
  world: IptablesWorld,
  saved: SavedRules,
): readonly Obstacle[] {
  const program = programName({ world, family })
  const filter = saved.get('filter')
  const forward = filter?.get('FORWARD')
  if (filter === undefined || forward === undefined) return []
  const rulesOf = (name: string) => filter.get(name)?.rules.map((text) => walkRule(readRule(text), network, filter))
  const found = dropOf('FORWARD', forward.policy === 'DROP' ? 'drop' : 'accept', rulesOf)
  if (found === undefined) return []
  const command = ['-s', '-d'].map((side) => `${program} -I FORWARD ${side} ${network} -j ACCEPT`).join('; ')
  const { drop } = found
  if (drop === undefined)
    return [{ text: `the policy of ${program} FORWARD drops what no rule accepts`, command, policyOf: world }]
  const rule = filter.get(drop.chain)?.rules[drop.rule - 1] ?? ''
  return [{ text: `rule ${drop.rule} of ${program} ${drop.chain} drops overlay traffic: ${rule}`, command }]
}

function walkRule(rule: ForeignRule, network: Cidr, chains: SavedTable): WalkRule {
  const { from, to, target, device, conditional, negated, goes, answers } = rule
  const isKnown = !conditional && !negated && device === undefined && !rule.unknown
  const whole = (side: Cidr | undefined) => side === undefined || contains(side, network)
  const all = DIRECTIONS.filter((direction) =>
    direction === 'from' ? to === undefined && whole(from) : from === undefined && whole(to),
  )
  return {
    all: isKnown ? all : [],
    some: isKnown && concerns(rule, network) ? DIRECTIONS : [],
    verdict: verdictOf(target, chains, goes),
    answers: answers && target === 'ACCEPT',
    // A device alone, or a set, may stand for all of them; not the loopback device, which no forwarded packet meets.
    may: !conditional && !negated && device !== 'lo' && (rule.unknown || device !== undefined) ? all : [],
  }
}

function postroutingObstacles(
  { network, family }: PacketPath,
  world: IptablesWorld,
  saved: SavedRules,
): readonly Obstacle[] {
  const program = programName({ world, family })
  const found: Obstacle[] = []
  for (const [index, text] of (saved.get('nat')?.get('POSTROUTING')?.rules ?? []).entries()) {
    const rule = readRule(text)
    if (leadsToUs(rule.target) || sparesAll(rule, network)) break
    if (!['MASQUERADE', 'SNAT', 'ACCEPT', 'NETMAP'].includes(rule.target) || !decidesBetween(rule, network)) continue
    if (rule.device === 'lo') continue
    const place = `rule ${index + 1} of ${program} -t nat POSTROUTING`
    // Of a flannel of before 0.20, whose rules stood there without a chain; whose others are only their owner knows.
    const command = isOldFlannels(rule, network) ? `${program} -t nat -D POSTROUTING ${text}` : ''
    found.push({ text: `${place} decides about overlay traffic before flannel's rules: ${text}`, command })
  }
  return found
}

/** Whether it holds for packets from one container of the network to another, or could, by its device. */
function decidesBetween({ from, notFrom, to, notTo, conditional, unknown }: ForeignRule, network: Cidr): boolean {
  const takes = (side: Cidr | undefined, not: boolean) =>
    side === undefined || (not ? !contains(side, network) : overlaps(side, network))
  return !conditional && !unknown && takes(from, notFrom) && takes(to, notTo)
}

/** No rule behind it sees packets from container to container. */
function sparesAll({ target, from, to, device, conditional, unknown, negated }: ForeignRule, network: Cidr): boolean {
  const isWhole = (side: Cidr | undefined) => side === undefined || contains(side, network)
  const isForAll = !conditional && !unknown && !negated && device === undefined
  return target === 'RETURN' && isForAll && isWhole(from) && isWhole(to)
}

function isOldFlannels({ target, from, to, notTo }: ForeignRule, network: Cidr): boolean {
  return target === 'MASQUERADE' && from === network && notTo && to === MULTICAST
}

function dockerObstacles(network: Cidr, { name, rules }: ForeignChain): readonly Obstacle[] {
  return directAccessObstacles(`chain ${name}`, directAccessRules(rules), network)
}

function chainObstacles(path: PacketPath, chain: ForeignChain): readonly Obstacle[] {
  const table = chain.name.slice(0, chain.name.lastIndexOf(' '))
  const entry = chain.name.slice(table.length + 1)
  const found = dropOf(entry, chain.policy, (name) =>
    (name === entry ? chain.rules : chain.inner?.get(name))?.map((expressions) => readNftRule(expressions, path)),
  )
  if (found === undefined) return []
  const { drop } = found
  const ip = path.family === 4 ? 'ip' : 'ip6'
  const insert = ['saddr', 'daddr'].map((side) => `nft insert rule ${chain.name} ${ip} ${side} ${path.network} accept`)
  // firewalld rewrites its table as a whole, and has words of its own for it.
  const zone = `firewall-cmd --permanent --zone=trusted --add-source=${path.network} && firewall-cmd --reload`
  const command = table === 'inet firewalld' ? zone : insert.join('; ')
  if (drop === undefined) return [{ text: `the policy of chain ${chain.name} drops what no rule accepts`, command }]
  return [{ text: `chain ${table} ${drop.chain} drops what no rule before accepts (rule ${drop.rule})`, command }]
}

function concerns(rule: ForeignRule, network: Cidr): boolean {
  if (rule.conditional || rule.negated || rule.unknown) return false
  return [rule.from, rule.to].every((side) => side === undefined || overlaps(side, network))
}
