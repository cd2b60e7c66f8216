import { type Cidr, type Family, networkAddress, prefixLength } from '../../lib/address.ts'
import { fingerprint } from '../../lib/fingerprint.ts'

/** A rule of nf_tables with a comment that distinguishes it from all others. */
export interface NftRule {
  /** In nft's words, without its comment; of a rule that was read, nft's JSON. */
  readonly text: string
  /** The rule's comment. It holds a fingerprint of the text: the kernel does not give a rule back as it was written. */
  readonly mark: string
}

/** As nft calls a table's family. */
export function nftFamily(family: Family): 'ip' | 'ip6' {
  return family === 4 ? 'ip' : 'ip6'
}

/**
 * A device's name in a script. A star at its end would stand for all names that begin so; a quote has no escape in nft's language, so that
 * the whole script of such a name is refused and nothing of it is done.
 */
export function nftName(device: string): string {
  return `"${device.replace(/\*$/, '\\*')}"`
}

/**
 * Rules with comments that distinguish them from all others: number and fingerprint of the whole list, so that a rule that is
 * missing, moved, inserted or written by another version shows.
 */
export function markedRules(comment: string, texts: readonly string[]): readonly NftRule[] {
  const version = fingerprint(texts.join('\n')).slice(0, 8)
  return texts.map((text, index) => ({ text, mark: `${comment} ${index + 1}/${texts.length} ${version}` }))
}

/** A prefix as `nft -j` prints it. */
export function prefixJson(network: Cidr): string {
  return JSON.stringify({ prefix: { addr: networkAddress(network), len: prefixLength(network) } })
}

/** A script for nft as lines for a shell. */
export function nftInput(script: string): readonly string[] {
  return ["nft -f - <<'END'", `${script}END`]
}
