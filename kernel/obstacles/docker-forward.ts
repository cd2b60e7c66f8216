import { DOCKER_TABLE } from './docker-direct.ts'
import type { ForeignChain } from './foreign-rules.ts'
import type { NftExpressions } from './nft-rule.ts'
import type { Obstacle } from './packet-path.ts'

/** A mark of a packet, and the bits that count. */
export interface PacketMark {
  readonly mark: number
  readonly mask: number
}

/** Named by an operator who has none: no bit of kube-proxy's, of the portmap plugin's or of ours. */
const EXAMPLE = '0x1000/0x1000'
const WHOLE = 0xffffffff
/** Before the name of the bridge. */
const INTO = 'filter-forward-in__'

/**
 * Docker with nftables drops at the end of a chain of each bridge what comes for no published port; nothing is called before, as DOCKER-USER
 * is with iptables, and an accept in a chain of ours does not count in one of theirs. What bears the mark of `--bridge-accept-fwmark` passes.
 * Source: moby's daemon/libnetwork/drivers/bridge/internal/nftabler/network.go.
 */
export function dockerForwardObstacles(
  { name, inner }: ForeignChain,
  bridges: ReadonlySet<string>,
): readonly Obstacle[] {
  const chains = [...(inner ?? [])].filter(([chain]) => chain.startsWith(INTO))
  return chains.flatMap(([chain, rules]) => {
    const bridge = chain.slice(INTO.length)
    const drops = rules.some((rule) => rule.some((expression) => 'drop' in expression) && isOfAll(rule))
    if (!bridges.has(bridge) || !drops || rules.some((rule) => acceptedMark(rule) !== undefined)) return []
    const text = `chain ${name.split(' ').slice(0, 2).join(' ')} ${chain} drops what peers send to containers of ${bridge}, but for published ports`
    const command = `in /etc/docker/daemon.json set "bridge-accept-fwmark": "${EXAMPLE}", and restart Docker: what comes for the overlay's containers then gets this mark by flanneld`
    return [{ text, command }]
  })
}

/** The mark that Docker accepts, by the chains of its table; undefined: none. */
export function markOfDocker(inner: ForeignChain['inner']): PacketMark | undefined {
  for (const [chain, rules] of inner ?? []) {
    if (!chain.startsWith(INTO)) continue
    for (const rule of rules) {
      const mark = acceptedMark(rule)
      if (mark !== undefined) return mark
    }
  }
  return undefined
}

/** Docker's own table, of one family or the other. */
export function isDockers(chain: ForeignChain): boolean {
  return chain.name.split(' ')[1] === DOCKER_TABLE
}

function isOfAll(rule: NftExpressions): boolean {
  return !rule.some((expression) => 'match' in expression)
}

// As in: meta mark & 4096 == 4096 counter accept
function acceptedMark(rule: NftExpressions): PacketMark | undefined {
  if (!rule.some((expression) => 'accept' in expression)) return undefined
  for (const expression of rule) {
    const { op, left, right } = (expression['match'] ?? {}) as { op?: string; left?: unknown; right?: unknown }
    if (op !== '==' || typeof right !== 'number') continue
    if (isMark(left)) return { mark: right, mask: WHOLE }
    const both = (left as { '&'?: unknown } | undefined)?.['&']
    if (Array.isArray(both) && isMark(both[0]) && typeof both[1] === 'number') return { mark: right, mask: both[1] }
  }
  return undefined
}

function isMark(left: unknown): boolean {
  return (left as { meta?: { key?: unknown } } | undefined)?.meta?.key === 'mark'
}
