import type { Cidr, IpAddr } from '../../lib/address.ts'
import type { Drop, Verdict } from './packet-walk.ts'

/** The first packet that a peer sends to this host through a tunnel; from where is not known, peers come and go. */
export interface OuterPacket {
  readonly protocol: 'udp' | 'ipip'
  /** Of udp. */
  readonly port?: number
  /** That it comes in by. */
  readonly device: string
  /** Where it goes. */
  readonly local: IpAddr
}

/** The first packet of a connection between a container of this host and one of a peer's, whoever opens it. */
export interface ForwardedPacket {
  readonly protocol: 'any'
  /** On the side of the peer. */
  readonly device: string
  /** That are on the peers' side: what the containers' is called is not known, but it is none of these. */
  readonly peerSide: readonly string[]
  readonly side: 'in' | 'out'
  readonly from: Cidr
  readonly to: Cidr
}

/** Whether a rule's conditions hold for the packet; `maybe`: they speak of what is not known. */
export type Matches = 'yes' | 'no' | 'maybe'

export interface FateRule {
  readonly matches: Matches
  readonly verdict: Verdict
}

export interface Closed {
  readonly drop: Drop
  /** Chains that the packet has gone through. */
  readonly passed: ReadonlySet<string>
}

/** As in 8472/udp. */
export function tunnelName({ protocol, port }: Pick<OuterPacket, 'protocol' | 'port'>): string {
  return protocol === 'udp' ? `${port}/udp` : 'ipip (IP protocol 4)'
}

/** Where chains refuse the packet whatever is unknown of it; undefined: it is, or may be, let through. */
export function closedAt(
  entry: string,
  policy: 'accept' | 'drop',
  chains: (name: string) => readonly FateRule[] | undefined,
): Closed | undefined {
  const walk = new FateWalk(chains)
  const { accepted, goesOn, drop } = walk.through(entry)
  if (accepted || (goesOn && policy === 'accept')) return undefined
  return { drop: goesOn ? undefined : drop, passed: walk.passed }
}

export function all(matches: Iterable<Matches>): Matches {
  let result: Matches = 'yes'
  for (const one of matches) {
    if (one === 'no') return 'no'
    if (one === 'maybe') result = 'maybe'
  }
  return result
}

export function not(matches: Matches): Matches {
  return matches === 'maybe' ? 'maybe' : matches === 'yes' ? 'no' : 'yes'
}

/** What may become of the packet in a chain. */
interface Fate {
  accepted: boolean
  /** It comes out undecided. */
  goesOn: boolean
  /** The last rule that drops it. */
  drop: Drop
}

class FateWalk {
  readonly passed = new Set<string>()
  readonly #chains: (name: string) => readonly FateRule[] | undefined
  readonly #known = new Map<string, Fate>()

  constructor(chains: (name: string) => readonly FateRule[] | undefined) {
    this.#chains = chains
  }

  through(name: string): Fate {
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const fate: Fate = { accepted: false, goesOn: true, drop: undefined }
    // Chains that call each other, which the kernel does not let be.
    this.#known.set(name, { ...fate })
    this.passed.add(name)
    let isHere = true
    let leaves = false
    for (const [index, { matches, verdict }] of (this.#chains(name) ?? []).entries()) {
      if (matches === 'no' || verdict === 'nothing') continue
      let stays = false
      if (verdict === 'accept') fate.accepted = true
      else if (verdict === 'drop') fate.drop = { chain: name, rule: index + 1 }
      else if (verdict === 'return') leaves = true
      else {
        const inner = this.through(verdict.to)
        fate.accepted ||= inner.accepted
        fate.drop = inner.drop ?? fate.drop
        if (inner.goesOn && verdict.comesBack) stays = true
        else leaves ||= inner.goesOn
      }
      isHere = matches === 'maybe' || stays
      if (!isHere) break
    }
    fate.goesOn = isHere || leaves
    this.#known.set(name, fate)
    return fate
  }
}
