import { cidrOf, contains, type Family, parseCidr } from '../../lib/address.ts'
import { isDevice, liesIn, mayBeSource, protocolNames, yesIf } from './iptables-match.ts'
import { type NftExpressions, verdictOf } from './nft-rule.ts'
import { all, type FateRule, type ForwardedPacket, type Matches, not, type OuterPacket } from './packet-fate.ts'

type Expression = NftExpressions[number]
type Packet = OuterPacket | ForwardedPacket
interface Left {
  readonly payload?: { readonly protocol?: string; readonly field?: string }
  readonly meta?: { readonly key?: string }
  readonly ct?: { readonly key?: string }
}

const DEVICES = new Set(['iif', 'oif', 'iifname', 'oifname'])
/** They look at a packet, or say what becomes of it. */
const SILENT = new Set(['counter', 'log', 'comment', 'accept', 'drop', 'reject', 'return', 'jump', 'goto'])

/** What a rule, as `nft -j` lists it, does to the packet: several where a map gives verdicts. Source: libnftables-json(5). */
export function nftFates(expressions: NftExpressions, packet: Packet, family: Family): readonly FateRule[] {
  const conditions = expressions.filter((expression) => !('vmap' in expression))
  const matches = all(conditions.map((expression) => expressionMatches(expression, packet, family)))
  const map = expressions.find((expression) => 'vmap' in expression)?.['vmap']
  if (map === undefined) return [{ matches, verdict: verdictOf(expressions) }]
  const { key, data } = map as { key?: Left; data?: { set?: readonly (readonly [unknown, Expression])[] } }
  // A map that has a name: what is in it does not stand here.
  if (!Array.isArray(data?.set)) return [{ matches: all([matches, 'maybe']), verdict: 'accept' }]
  return data.set.map(([value, verdict]) => ({
    matches: all([matches, sideMatches(key ?? {}, value, packet, family)]),
    verdict: verdictOf([verdict]),
  }))
}

function expressionMatches(expression: Expression, packet: Packet, family: Family): Matches {
  if ('match' in expression) {
    const { op, left, right } = expression['match'] as { op?: string; left?: Left; right?: unknown }
    const matches = sideMatches(left ?? {}, right, packet, family)
    if (op === '!=') return not(matches)
    return op === '==' || op === 'in' ? matches : 'maybe'
  }
  const xt = expression['xt'] as { type?: string; name?: string } | null | undefined
  if (xt && (xt.type === 'target' || xt.name === 'comment')) return 'yes'
  return Object.keys(expression).every((key) => SILENT.has(key)) ? 'yes' : 'maybe'
}

function sideMatches(left: Left, right: unknown, packet: Packet, family: Family): Matches {
  const { payload, meta, ct } = left
  const { protocol, field } = payload ?? {}
  const ip = family === 4 ? 'ip' : 'ip6'
  if (packet.protocol === 'any') return forwardedMatches(left, right, packet, family)
  const names = protocolNames(packet)
  if (meta?.key === 'l4proto' || (protocol === 'ip' && field === 'protocol') || field === 'nexthdr')
    return among(right, (value) => names.includes(String(value)))
  if (meta?.key === 'nfproto') return among(right, (value) => value === `ipv${family}`)
  if (meta?.key === 'iif' || meta?.key === 'iifname')
    return among(right, (value) => isDevice(packet.device, String(value), '*'))
  if (ct?.key === 'state') return among(right, (value) => value === 'new')
  if (ct?.key === 'status') return among(right, () => false)
  if (protocol === 'th' || protocol === packet.protocol)
    return field === 'dport' ? among(right, (value) => value === packet.port) : sourceMatches(right, packet)
  if (protocol === ip && field === 'daddr') {
    const local = cidrOf(packet.local, family === 4 ? 32 : 128)
    return among(right, (value) => {
      const to = parseCidr(String(value))
      return to === undefined ? value === packet.local : contains(to, local)
    })
  }
  if (protocol === ip) return 'maybe'
  // Of another protocol: tcp, icmp, the other family.
  return protocol === undefined ? 'maybe' : 'no'
}

function forwardedMatches(
  { payload, meta, ct }: Left,
  right: unknown,
  packet: ForwardedPacket,
  family: Family,
): Matches {
  const { protocol, field } = payload ?? {}
  if (meta?.key === 'nfproto') return among(right, (value) => value === `ipv${family}`)
  if (meta?.key !== undefined && DEVICES.has(meta.key)) {
    const isKnown = meta.key.startsWith('i') === (packet.side === 'in')
    return among(right, (value) => {
      if (isKnown) return isDevice(packet.device, String(value), '*')
      return packet.peerSide.includes(String(value)) ? 'no' : 'maybe'
    })
  }
  if (ct?.key === 'state') return among(right, (value) => value === 'new')
  if (protocol === (family === 4 ? 'ip6' : 'ip')) return 'no'
  if (field !== 'saddr' && field !== 'daddr') return 'maybe'
  const addresses = field === 'saddr' ? packet.from : packet.to
  return among(right, (value) => liesIn(addresses, String(value)))
}

function sourceMatches(right: unknown, packet: OuterPacket): Matches {
  return typeof right === 'number' && !mayBeSource(packet, right) ? 'no' : 'maybe'
}

/** Whether one of the values on the right is the packet's. Of sets that have names it is not known. */
function among(right: unknown, isIt: (value: unknown) => boolean | Matches): Matches {
  if (typeof right === 'string' && right.startsWith('@')) return 'maybe'
  if (Array.isArray(right)) return some(right.map((value) => among(value, isIt)))
  const judged = (value: unknown) => {
    const found = isIt(value)
    return typeof found === 'string' ? found : yesIf(found)
  }
  if (typeof right !== 'object' || right === null) return judged(right)
  const { set, range, prefix, elem } = right as {
    set?: unknown
    range?: readonly unknown[]
    prefix?: { addr?: unknown; len?: unknown }
    elem?: { val?: unknown }
  }
  if (set !== undefined) return among(Array.isArray(set) ? set : [set], isIt)
  if (elem !== undefined) return among(elem.val, isIt)
  if (prefix !== undefined) return judged(`${prefix.addr}/${prefix.len}`)
  const [from, to] = range ?? []
  if (typeof from !== 'number' || typeof to !== 'number' || to - from > 65_535) return 'maybe'
  return some(Array.from({ length: to - from + 1 }, (_, index) => judged(from + index)))
}

function some(matches: readonly Matches[]): Matches {
  return matches.includes('yes') ? 'yes' : matches.includes('maybe') ? 'maybe' : 'no'
}
