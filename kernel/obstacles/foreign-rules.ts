import type { SavedRules } from '../rules/iptables-text.ts'
import type { IptablesWorld } from '../rules/iptables-words.ts'
import type { NftExpressions } from './nft-rule.ts'

/** A base chain of somebody's own nftables table. */
export interface ForeignChain {
  readonly hook?: 'forward' | 'input' | 'prerouting'
  /** As in `inet firewalld filter_FORWARD`. */
  readonly name: string
  readonly policy: 'accept' | 'drop'
  /** The expressions of each rule as `nft -j` lists them. */
  readonly rules: readonly NftExpressions[]
  /** The other chains of its table, by name. */
  readonly inner?: ReadonlyMap<string, readonly NftExpressions[]>
}

export interface ForeignRules {
  readonly iptables: readonly { readonly world: IptablesWorld; readonly rules: SavedRules }[]
  readonly chains: readonly ForeignChain[]
  /** Devices with an address in the network. */
  readonly devices?: ReadonlySet<string>
}
