import { type Cidr, cidrOf, overlaps, parseCidr, parseIp } from '../../lib/address.ts'
import { ruleWords } from '../rules/iptables-words.ts'
import { iptablesWords } from '../rules/nft-saved.ts'
import type { NftExpressions } from './nft-rule.ts'
import type { Obstacle } from './packet-path.ts'

/** Of Docker, where it writes its rules by nftables. */
export const DOCKER_TABLE = 'docker-bridges'

/**
 * Docker drops, before any chain that is its users', what comes to a container of its bridges from elsewhere than the bridge: from 28.0
 * on in iptables' raw PREROUTING, by nftables in `docker-bridges`. Its containers on the overlay's subnet are out of reach of peers then.
 * Source: moby's daemon/libnetwork/drivers/bridge/internal/{iptabler,nftabler}/endpoint.go.
 */
export function directAccessObstacles(where: string, rules: readonly string[], network: Cidr): readonly Obstacle[] {
  const accepted = new Set<string>()
  const dropped: string[] = []
  for (const rule of rules) {
    const words = ruleWords(rule)
    const to = words[words.indexOf('-d') + 1] ?? ''
    const cidr = parseCidr(to) ?? hostOf(to)
    if (!words.includes('-d') || cidr === undefined || !overlaps(cidr, network)) continue
    // For an interface that the bridge's owner trusts.
    if (words.includes('ACCEPT') && words.includes('-i') && !words.includes('lo')) accepted.add(to)
    if (words.includes('DROP') && isForeignDevice(words) && !accepted.has(to)) dropped.push(to)
  }
  const [first] = dropped
  if (first === undefined) return []
  const more = dropped.length === 1 ? '' : ` and to ${dropped.length - 1} more`
  return [
    {
      text: `${where} drops what peers send to ${first.replace(/\/(?:32|128)$/, '')}${more} (Docker 28 and later)`,
      command:
        'with Docker 28.2 or later set "allow-direct-routing": true in /etc/docker/daemon.json and restart Docker, or create the network with the option com.docker.network.bridge.trusted_host_interfaces naming the overlay device',
    },
  ]
}

/** The same of a chain that `nft -j` has listed. */
export function directAccessRules(rules: readonly NftExpressions[]): readonly string[] {
  return rules.map((expressions) => iptablesWords(expressions.map(withoutLoopback)))
}

/** `iifname != { docker0, lo }` (29) as `iifname != docker0`: a further device would be one that the network trusts. */
function withoutLoopback(expression: NftExpressions[number]): NftExpressions[number] {
  const match = expression['match'] as { op?: string; right?: { set?: unknown } } | undefined
  const set = match?.right?.set
  if (match?.op !== '!=' || !Array.isArray(set)) return expression
  const devices = set.filter((name) => name !== 'lo')
  return devices.length === 1 ? { match: { ...match, right: devices[0] } } : expression
}

/** Until 28.1 there is a rule for each published port. */
const OF_A_PORT = new Set(['comment', 'tcp', 'udp', 'sctp'])

// As in: ! -i docker0
function isForeignDevice(words: readonly string[]): boolean {
  const index = words.indexOf('-i')
  const matches = words.filter((_, at) => words[at - 1] === '-m')
  return index > 0 && words[index - 1] === '!' && matches.every((match) => OF_A_PORT.has(match))
}

function hostOf(text: string): Cidr | undefined {
  const address = parseIp(text)
  return address === undefined ? undefined : cidrOf(address, address.includes(':') ? 128 : 32)
}
