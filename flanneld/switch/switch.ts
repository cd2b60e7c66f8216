import type { Family } from '../../lib/address.ts'

/** A way that the node has while it changes from one to another. */
export interface HeldWay {
  /** `wayKey` of its configuration. */
  readonly key: string
  /** The lease says that the node receives by it. */
  readonly isAccepted: boolean
  /** The lease says that the node sends by it. */
  readonly isSent: boolean
  /** No lease has ever said anything of it, so that it may go at once; absent of all others. */
  readonly isUntold?: true
}

/** To which ways a peer was moved. */
export interface Pin {
  /** Another node that has got the lease was not moved. */
  readonly node: string
  /** By family. */
  readonly ways: ReadonlyMap<Family, string>
}

/** By lease id; peers without one go by the oldest way that they accept. */
export type Pins = ReadonlyMap<string, Pin>

export interface SwitchState {
  /** The oldest first. Only one: the node is at rest. */
  readonly held: readonly HeldWay[]
  /** Key of the way that the configuration wants. */
  readonly target: string
  readonly pins: Pins
  /** Nobody is waited for any more, by order. */
  readonly isForced?: true
}

/**
 * What probes have told of the target: `unproven`; `proven` before the move; after it `confirmed`, or `failed` when the peer is not
 * reached by it any more. `unasked`: to a host of flannel, which answers no probes, it is what flannel itself would send by.
 */
export type Verdict = 'unproven' | 'proven' | 'confirmed' | 'failed' | 'unasked'

/** One peer in one family. */
export interface SwitchPeer {
  readonly id: string
  /** NodeID; empty: a host of flannel. */
  readonly node: string
  readonly family: Family
  /** Keys of the held ways that its lease accepts. */
  readonly accepts: readonly string[]
  /** Of these the ones that do not lead to it from here, though it accepts them. */
  readonly refused: readonly string[]
  /** Keys of the held ways that its node sends by, to whomever. */
  readonly sends: readonly string[]
  readonly verdict: Verdict
}

/** All that is seen at one moment. */
export interface SwitchView {
  readonly peers: readonly SwitchPeer[]
  /** All that the node needs to receive by the target is in the kernel, for all peers. */
  readonly isSettled: boolean
  /** For how many ms the store has shown the own lease as the state says, and the peers' leases as they were then or later; 0: not yet. */
  readonly shownMs: number
}

/** Packets that were sent before the last peer changed its way have arrived after this time. */
export const IN_FLIGHT_MS = 500

export function restingAt(key: string): SwitchState {
  return { held: [{ key, isAccepted: true, isSent: true }], target: key, pins: NO_PINS }
}

/** The same state where that is the target already. What nobody was told of makes room for another one. */
export function retarget(state: SwitchState, key: string): SwitchState {
  if (state.target === key) return state
  const { isForced: _isForced, ...rest } = state
  const isHeld = state.held.some((way) => way.key === key)
  if (isHeld) return { ...rest, target: key }
  const fresh = { key, isAccepted: false, isSent: false, isUntold: true } as const
  return { ...rest, held: [...toldOf(state), fresh], target: key }
}

export function toldOf({ held }: SwitchState): readonly HeldWay[] {
  return held.filter(({ isUntold }) => isUntold !== true)
}

/**
 * Nobody is waited for any more; the others still hear of it before the old ways end. The same state where the node does not receive by
 * the target yet: it would be reached by nothing.
 */
export function forced(state: SwitchState): SwitchState {
  return targetOf(state).isAccepted ? { ...state, isForced: true } : state
}

/** The way by which this node sends to the peer; undefined: they have none in common. */
export function wayOf({ held, pins }: SwitchState, peer: Omit<SwitchPeer, 'sends' | 'verdict'>) {
  const pin = pinOf(pins, peer)?.get(peer.family)
  if (pin !== undefined && isOpen(peer, pin)) return pin
  return held.find(({ key }) => isOpen(peer, key))?.key
}

function pinOf(pins: Pins, { id, node }: Pick<SwitchPeer, 'id' | 'node'>): Pin['ways'] | undefined {
  const pin = pins.get(id)
  return pin?.node === node ? pin.ways : undefined
}

function isOpen({ accepts, refused }: Pick<SwitchPeer, 'accepts' | 'refused'>, key: string): boolean {
  return accepts.includes(key) && !refused.includes(key)
}

/**
 * The next step, or the same state where nothing can be done yet. Each step is right whatever comes after it, so a node may die at any
 * of them: what a lease accepts stands, and a way is used only by who has said so and has then seen that the peer still accepts it;
 * it ends only when nobody says that he uses it, as of a moment after the node has said that it accepts it no more.
 */
export function advance(state: SwitchState, view: SwitchView): SwitchState {
  for (const step of STEPS) {
    const next = step(state, view)
    if (next !== state) return next
  }
  return state
}

type Step = (state: SwitchState, view: SwitchView) => SwitchState

const STEPS: readonly Step[] = [forget, accept, sayWhatIsSent, move, fallBack, stopSending, withdraw, takeBack, end]
const NO_PINS: Pins = new Map()

/** Who has gone, or does not accept any more what it was moved to, may come again as somebody who was proven nothing. */
function forget(state: SwitchState, { peers, shownMs }: SwitchView): SwitchState {
  if (shownMs === 0 || state.pins.size === 0) return state
  const accepted = new Set(
    peers.flatMap(({ id, node, family, accepts }) => accepts.map((key) => pinName(id, node, family, key))),
  )
  return withPins(state, (id, node, family, key) => accepted.has(pinName(id, node, family, key)))
}

function pinName(id: string, node: string, family: Family, key: string): string {
  return `${family} ${id} ${node} ${key}`
}

/** The same state where all are kept. */
function withPins(
  state: SwitchState,
  isKept: (id: string, node: string, family: Family, key: string) => boolean,
): SwitchState {
  let isSame = true
  const pins = new Map<string, Pin>()
  for (const [id, pin] of state.pins) {
    const ways = [...pin.ways].filter(([family, key]) => isKept(id, pin.node, family, key))
    isSame &&= ways.length === pin.ways.size
    if (ways.length > 0) pins.set(id, ways.length === pin.ways.size ? pin : { ...pin, ways: new Map(ways) })
  }
  return isSame ? state : { ...state, pins }
}

function accept(state: SwitchState, { isSettled }: SwitchView): SwitchState {
  const { isAccepted } = targetOf(state)
  return isAccepted || !isSettled ? state : changed(state, state.target, { isAccepted: true })
}

function sayWhatIsSent(state: SwitchState, { peers }: SwitchView): SwitchState {
  const used = state.isForced ? new Set([state.target]) : usedWays(state, peers)
  const unsaid = state.held.find(({ key, isSent }) => !isSent && used.has(key))
  if (unsaid !== undefined) return changed(state, unsaid.key, { isSent: true })
  if (state.held.some(({ isSent }) => isSent)) return state
  // Who says nothing would be taken for one who sends by all that it receives by.
  const first = targetOf(state).isAccepted ? state.target : (state.held[0]?.key ?? state.target)
  return changed(state, first, { isSent: true })
}

function usedWays(state: SwitchState, peers: readonly SwitchPeer[]): ReadonlySet<string | undefined> {
  return new Set(peers.flatMap((peer) => [wayOf(state, peer), nextOf(state, peer)]))
}

function move(state: SwitchState, view: SwitchView): SwitchState {
  return pinned(state, view, ({ verdict }) => isGood(verdict))
}

function isGood(verdict: Verdict): boolean {
  return verdict === 'proven' || verdict === 'unasked'
}

function isLasting(verdict: Verdict): boolean {
  return verdict === 'confirmed' || verdict === 'unasked'
}

function fallBack(state: SwitchState, view: SwitchView): SwitchState {
  return pinned(state, view, (peer) => peer.verdict === 'failed')
}

function pinned(
  state: SwitchState,
  { peers, shownMs }: SwitchView,
  concerns: (peer: SwitchPeer) => boolean,
): SwitchState {
  if (shownMs === 0) return state
  const isSent = new Set(state.held.flatMap((way) => (way.isSent ? [way.key] : [])))
  const pins = new Map(state.pins)
  for (const peer of peers) {
    const next = concerns(peer) ? nextOf(state, peer) : undefined
    if (next === undefined || !isSent.has(next)) continue
    const ways = new Map(pinOf(pins, peer)).set(peer.family, next)
    pins.set(peer.id, { node: peer.node, ways })
  }
  const isSame = [...pins].every(([id, pin]) => state.pins.get(id) === pin)
  return isSame ? state : { ...state, pins }
}

function stopSending(state: SwitchState, { peers }: SwitchView): SwitchState {
  const unused = state.held.find(
    ({ key, isSent }) =>
      key !== state.target && isSent && (state.isForced || !peers.some((peer) => mayUse(state, peer, key))),
  )
  const isNeeded = targetOf(state).isAccepted
  return unused === undefined || !isNeeded ? state : changed(state, unused.key, { isSent: false })
}

/** Now, or again should the target not carry what it has promised. */
function mayUse(state: SwitchState, peer: SwitchPeer, key: string): boolean {
  const way = wayOf(state, peer)
  return way === key || (way === state.target && peer.accepts.includes(key) && !isLasting(peer.verdict))
}

function withdraw(state: SwitchState, { peers, shownMs }: SwitchView): SwitchState {
  if (shownMs === 0 || !targetOf(state).isAccepted) return state
  const over = state.held.find(
    ({ key, isAccepted, isSent }) =>
      key !== state.target && isAccepted && !isSent && (state.isForced || !isUsed(peers, key)),
  )
  return over === undefined ? state : changed(state, over.key, { isAccepted: false })
}

function isUsed(peers: readonly SwitchPeer[], key: string): boolean {
  return peers.some(({ sends }) => sends.includes(key))
}

/** Somebody has begun to send by it in the very moment when it was withdrawn. */
function takeBack(state: SwitchState, { peers, shownMs }: SwitchView): SwitchState {
  if (shownMs === 0 || state.isForced) return state
  const needed = state.held.find(({ key, isAccepted }) => key !== state.target && !isAccepted && isUsed(peers, key))
  return needed === undefined ? state : changed(state, needed.key, { isAccepted: true })
}

function end(state: SwitchState, { shownMs }: SwitchView): SwitchState {
  if (shownMs < IN_FLIGHT_MS) return state
  const held = state.held.filter(({ key, isAccepted, isSent }) => key === state.target || isAccepted || isSent)
  if (held.length === state.held.length) return state
  if (held.length === 1 && targetOf(state).isAccepted) return restingAt(state.target)
  // Should one come again, it has to be proven again.
  return { ...withPins(state, (_id, _node, _family, key) => held.some((way) => way.key === key)), held }
}

/** Where the peer goes next; undefined: it stays. */
function nextOf(state: SwitchState, peer: SwitchPeer): string | undefined {
  const way = wayOf(state, peer)
  if (way !== state.target) {
    return isGood(peer.verdict) && isOpen(peer, state.target) ? state.target : undefined
  }
  if (peer.verdict !== 'failed') return undefined
  return state.held.find(({ key, isAccepted }) => key !== way && isAccepted && isOpen(peer, key))?.key
}

function targetOf({ held, target }: SwitchState): HeldWay {
  return held.find(({ key }) => key === target) ?? { key: target, isAccepted: false, isSent: false }
}

function changed(state: SwitchState, key: string, fields: Partial<HeldWay>): SwitchState {
  const held = state.held.map((way): HeldWay => {
    if (way.key !== key) return way
    const { isUntold: _isUntold, ...told } = way
    return { ...told, ...fields }
  })
  return { ...state, held }
}
