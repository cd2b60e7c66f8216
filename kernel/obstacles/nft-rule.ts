import { type Cidr, cidrOf, contains, type Family, overlaps, parseCidr, parseIp } from '../../lib/address.ts'
import { DIRECTIONS, type Direction, type Verdict, type WalkRule } from './packet-walk.ts'

/** A rule as `nft -j` lists it. */
export type NftExpressions = readonly Readonly<Record<string, unknown>>[]

const DEVICES = new Set(['iif', 'oif', 'iifname', 'oifname'])
/** They look at a packet and let it go on. */
const HARMLESS = new Set(['counter', 'log', 'comment', 'accept', 'drop', 'reject', 'return', 'jump', 'goto'])

/** What a rule does to the packets of a network, as far as that is known. Source: libnftables-json(5). */
export function readNftRule(expressions: NftExpressions, of: { family: Family; network: Cidr }): WalkRule {
  const found = { all: new Set(DIRECTIONS), some: new Set(DIRECTIONS) }
  for (const expression of expressions) {
    if ('match' in expression) restrict(found, expression['match'] as Match, of)
    else if (!Object.keys(expression).every((key) => HARMLESS.has(key))) restrictTo(found, [], [])
  }
  const verdict = verdictOf(expressions)
  const text = JSON.stringify(expressions)
  const isUntold = expressions.every((expression) => isUntoldAlone(expression) || isToldFor(expression, of))
  const answers = text.includes('"established"') && text.includes('"accept"')
  if (expressions.some((expression) => 'vmap' in expression) && isUntold) {
    return { all: [], some: [], verdict: 'accept', answers, may: DIRECTIONS }
  }
  const may = isUntold && found.all.size < DIRECTIONS.length ? DIRECTIONS : []
  return { all: [...found.all], some: [...found.some], verdict, answers, may }
}

/** By a device or a set: all packets may be of it, or none, which is not known. */
function isUntoldAlone(expression: NftExpressions[number]): boolean {
  const map = expression['vmap'] as { key?: Match['left'] } | undefined
  const { left, right } = (expression['match'] as Match | undefined) ?? { left: map?.key }
  const { payload, meta } = left ?? {}
  const isAddress = payload?.field === 'saddr' || payload?.field === 'daddr'
  // No forwarded packet comes in or goes out by the loopback device.
  if (meta?.key !== undefined && DEVICES.has(meta.key)) return right !== 'lo'
  return isAddress && (map !== undefined || (typeof right === 'string' && right.startsWith('@')))
}

function isToldFor(expression: NftExpressions[number], { family }: { family: Family }): boolean {
  if (!('match' in expression)) return Object.keys(expression).every((key) => HARMLESS.has(key))
  const { left, right } = expression['match'] as Match
  return left?.meta?.key === 'nfproto' && right === (family === 4 ? 'ipv4' : 'ipv6')
}

/** The chains that packets may come to from these rules by nothing else than their addresses. */
export function waysOut(rules: readonly NftExpressions[]): readonly string[] {
  return rules.flatMap((expressions) => {
    const verdict = verdictOf(expressions)
    const isKnown = expressions.every(
      (expression) => Object.keys(expression).every((key) => HARMLESS.has(key)) || isToldMatch(expression['match']),
    )
    return isKnown && typeof verdict === 'object' ? [verdict.to] : []
  })
}

/** All chains that a packet may come to from these rules. */
export function allWaysOut(rules: readonly NftExpressions[]): readonly string[] {
  const text = JSON.stringify(rules)
  return [...text.matchAll(/"(?:jump|goto)":\{"target":"([^"]+)"/g)].map(([, name]) => name ?? '')
}

function isToldMatch(match: unknown): boolean {
  const { payload, meta } = (match as Match | undefined)?.left ?? {}
  return meta?.key === 'nfproto' || payload?.field === 'saddr' || payload?.field === 'daddr'
}

interface Match {
  readonly op?: string
  readonly left?: { readonly payload?: Payload; readonly meta?: { readonly key?: string } }
  readonly right?: unknown
}
interface Payload {
  readonly protocol?: string
  readonly field?: string
}
interface Found {
  readonly all: Set<Direction>
  readonly some: Set<Direction>
}

function restrict(found: Found, { op, left, right }: Match, of: { family: Family; network: Cidr }): void {
  if (left?.meta?.key === 'nfproto' && op === '==') {
    if (right !== (of.family === 4 ? 'ipv4' : 'ipv6')) restrictTo(found, [], [])
    return
  }
  const { protocol, field } = left?.payload ?? {}
  const isSide = protocol === (of.family === 4 ? 'ip' : 'ip6') && (field === 'saddr' || field === 'daddr')
  if (!isSide || (op !== '==' && op !== 'in')) {
    restrictTo(found, [], [])
    return
  }
  const cidrs = cidrsOf(right)
  const direction = field === 'saddr' ? 'from' : 'to'
  const isWhole = cidrs.some((cidr) => contains(cidr, of.network))
  const touches = cidrs.some((cidr) => overlaps(cidr, of.network))
  restrictTo(found, isWhole ? [direction] : [], touches ? DIRECTIONS : [])
}

function restrictTo(found: Found, all: readonly Direction[], some: readonly Direction[]): void {
  for (const direction of DIRECTIONS) {
    if (!all.includes(direction)) found.all.delete(direction)
    if (!some.includes(direction)) found.some.delete(direction)
  }
}

function cidrsOf(right: unknown): readonly Cidr[] {
  if (typeof right === 'string') {
    const address = parseIp(right)
    return address === undefined ? [] : [cidrOf(address, address.includes(':') ? 128 : 32)]
  }
  if (typeof right !== 'object' || right === null) return []
  const { prefix, set } = right as { prefix?: { addr?: unknown; len?: unknown }; set?: unknown }
  if (Array.isArray(set)) return set.flatMap(cidrsOf)
  const cidr = parseCidr(`${prefix?.addr}/${prefix?.len}`)
  return cidr === undefined ? [] : [cidr]
}

export function verdictOf(expressions: NftExpressions): Verdict {
  for (const expression of expressions) {
    if ('accept' in expression) return 'accept'
    if ((expression['xt'] as { name?: string } | null | undefined)?.name === 'REJECT') return 'drop'
    if ('drop' in expression || 'reject' in expression) return 'drop'
    if ('return' in expression) return 'return'
    for (const word of ['jump', 'goto'] as const) {
      const target = (expression[word] as { target?: unknown } | undefined)?.target
      if (target !== undefined) return { to: String(target), comesBack: word === 'jump' }
    }
  }
  return 'nothing'
}
