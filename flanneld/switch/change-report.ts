import type { Condition } from '../status/status.ts'
import type { ChangeStatus, WaitingPeer } from './change-status.ts'
import { type SwitchState, wayOf } from './switch.ts'
import type { LeasedPeer } from './switch-peers.ts'

export interface ChangeFacts {
  readonly state: SwitchState
  readonly peers: readonly LeasedPeer[]
  /** By key, in the operator's words. */
  readonly nameOf: (key: string) => string
  /** What the last probes to the peer lacked. */
  readonly whyOf: (peer: LeasedPeer) => string | undefined
  /** What keeps the kernel from having its route by the new way. */
  readonly faultOf: (peer: LeasedPeer) => string | undefined
  /** Whether the new way leads to the peer at all. */
  readonly leadsTo: (peer: LeasedPeer) => boolean
  readonly since: string
  readonly obstacle: string | undefined
}

const MOST_NAMED = 100
const NAMED_IN_TEXT = 5

/** Pure. */
export function changeStatus(facts: ChangeFacts): ChangeStatus {
  const { state, peers, nameOf, since, obstacle = '' } = facts
  const others = state.held.filter(({ key }) => key !== state.target)
  const moved = peers.filter((peer) => wayOf(state, peer) === state.target).length
  const waiting: WaitingPeer[] = []
  const isOldShown = peers.some((peer) => isOfFlannel(peer) && !peer.accepts.includes(state.target))
  for (const peer of peers) {
    if (waiting.length === MOST_NAMED) break
    const reason = reasonOf(facts, peer, isOldShown)
    if (reason !== undefined) waiting.push({ id: peer.id, family: peer.family === 4 ? 'ipv4' : 'ipv6', reason })
  }
  const isAccepted = state.held.some(({ key, isAccepted }) => key === state.target && isAccepted)
  const phase = !isAccepted ? 'preparing' : moved < peers.length ? 'moving' : 'draining'
  return {
    from: others.map(({ key }) => nameOf(key)),
    to: nameOf(state.target),
    phase,
    since,
    peers: { moved, total: peers.length },
    waiting,
    obstacle,
  }
}

function isOfFlannel({ lease }: LeasedPeer): boolean {
  return lease.node === ''
}

/** `isOldShown`: our lease shows hosts of flannel the old type, as long as one of them needs it. */
function reasonOf(
  { state, nameOf, whyOf, faultOf, leadsTo }: ChangeFacts,
  peer: LeasedPeer,
  isOldShown: boolean,
): string | undefined {
  const { target, held } = state
  const fault = faultOf(peer)
  if (fault !== undefined) return `has no route by ${nameOf(target)}: ${fault}`
  if (wayOf(state, peer) === target) {
    if (isOfFlannel(peer) && isOldShown)
      return `is a host of flannel with ${nameOf(target)}, which reaches this one once the last host of flannel is restarted`
    const old = held.find(({ key }) => key !== target && peer.sends.includes(key))
    return old === undefined ? undefined : `still sends by ${nameOf(old.key)}`
  }
  if (!peer.accepts.includes(target)) {
    return isOfFlannel(peer)
      ? `is a host of flannel, which receives by ${nameOf(target)} once it is restarted`
      : `does not receive by ${nameOf(target)} yet`
  }
  if (!leadsTo(peer)) return `${nameOf(target)} does not lead to it: it may not be on this link`
  return whyOf(peer) ?? 'probes are on their way'
}

export interface Telling {
  /** It takes longer than a change may take without anybody looking at it. */
  readonly isLong: boolean
  /** What the configuration asks for by now, where that has to wait for the end of this change. */
  readonly next: string | undefined
  /** What firewalls must let in. */
  readonly opens: string
}

/** What is true of a node while it changes. */
export function changeConditions(status: ChangeStatus, telling: Telling): readonly Condition[] {
  const { next } = telling
  const waits: Condition = {
    code: 'backend-change-waits',
    severity: 'warning',
    text: `the configuration asks for ${next}, which cannot be beside ${status.from.join(' and ')}; it goes into use when the change to ${status.to} is over`,
    remedy:
      'look at the condition backend-changing for whom that waits; flanneld switch --finish waits for nobody any more',
  }
  return [...conditionsOf(status, telling), ...(next === undefined ? [] : [waits])]
}

function conditionsOf(status: ChangeStatus, { isLong, opens }: Telling): readonly Condition[] {
  const { from, to, phase, obstacle } = status
  const way = `from ${from.join(' and ')} to ${to}`
  if (obstacle !== '') {
    return [
      {
        code: 'backend-change-blocked',
        severity: 'warning',
        text: `the backend cannot change ${way} on this host, which goes on with what it has: ${obstacle}`,
        remedy: 'remove the obstacle, which is looked for again and again, or write the earlier configuration again',
      },
    ]
  }
  const named = status.waiting.slice(0, NAMED_IN_TEXT).map(({ id, reason }) => `${id} ${reason}`)
  const more = status.waiting.length - named.length
  const rest = more > 0 ? [`and ${more} more`] : []
  const waits = named.length === 0 ? '' : `; waiting: ${[...named, ...rest].join(', ')}`
  return [
    {
      code: 'backend-changing',
      severity: isLong ? 'warning' : 'info',
      text: `the backend changes ${way} (${phase})${isLong ? waits : ''}`,
      remedy: isLong
        ? `look at the hosts that are named; restart a host of flannel, start a host that is away, let ${opens} in; flanneld switch --finish waits for nobody any more`
        : 'none is needed: peers move one by one, and packets go by the old way until the new one is proven',
    },
  ]
}
