/** What flannel calls its chains and tables; cluster scripts and other programs know these names. */
export const MASQUERADE_CHAIN = 'FLANNEL-POSTRTG'
export const FORWARD_CHAIN = 'FLANNEL-FWD'
export const MASQUERADE_COMMENT = 'flanneld masq'
export const FORWARD_COMMENT = 'flanneld forward'
export const NFT_TABLES = { 4: 'flannel-ipv4', 6: 'flannel-ipv6' } as const
/** Ours alone, whichever tool the other rules go to: what Docker shall let through gets its mark there. */
export const MARK_TABLES = { 4: 'flannel-docker-ipv4', 6: 'flannel-docker-ipv6' } as const
export const MARK_COMMENT = 'flanneld mark'
export const NFT_CHAINS = { masquerade: 'postrtg', forward: 'forward', mark: 'dockermark' } as const

/** Several daemons on one host must not share chains: all but the default instance have their name in them. */
export function namedFor(instance: string, name: string): string {
  return instance === '' ? name : `${name}-${instance}`
}

const OWN = new RegExp(`^(?:${MASQUERADE_CHAIN}|${FORWARD_CHAIN})(?:-([0-9a-f]{8}))?$`)
const OWN_TABLE = /^flannel-(?:docker-)?ipv[46](?:-([0-9a-f]{8}))?$/

/** The instance that a chain's name speaks of, empty for the default one; undefined for any other chain. */
export function instanceOfChain(name: string): string | undefined {
  const match = OWN.exec(name)
  return match === null ? undefined : (match[1] ?? '')
}

/** The comment of the rules in a chain of ours, and of the jumps into it. */
export function commentOfChain(chain: string): string {
  return chain.startsWith(MASQUERADE_CHAIN) ? MASQUERADE_COMMENT : FORWARD_COMMENT
}

/** As `instanceOfChain`, for a table of nftables. */
export function instanceOfTable(name: string): string | undefined {
  const match = OWN_TABLE.exec(name)
  return match === null ? undefined : (match[1] ?? '')
}

/** flannel knows nothing of these tables. */
export function isMarkTable(name: string): boolean {
  return Object.values(MARK_TABLES).some((table) => name.startsWith(table))
}

/** The table of the ingress guard, of the family inet. */
export const GUARD_TABLE = 'flanneld-guard'
/** Begins the comment of each of its sets and rules. */
export const GUARD_COMMENT = 'flanneld guard'
const OWN_GUARD = /^flanneld-guard(?:-([0-9a-f]{8}))?$/

/** The same for the table of an ingress guard. */
export function instanceOfGuard(name: string): string | undefined {
  const match = OWN_GUARD.exec(name)
  return match === null ? undefined : (match[1] ?? '')
}
