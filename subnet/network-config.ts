import type { Cidr, Family, IpAddr } from '../lib/address.ts'

/** One family's part of the network configuration (net-conf.json). */
export interface FamilyNetwork {
  readonly network: Cidr
  /** Prefix length of every host's subnet, in bits. */
  readonly subnetLen: number
  /** Network address of the first and the last subnet that may be leased. */
  readonly subnetMin: IpAddr
  readonly subnetMax: IpAddr
}

export interface NetworkConfig {
  /** Only the enabled families, 4 before 6. */
  readonly families: ReadonlyMap<Family, FamilyNetwork>
  readonly nftables: boolean
  /** Lower case; `udp` where the document has no Backend. */
  readonly backendType: string
  /** The `Backend` object as given, for the backend's own parser. */
  readonly backend: unknown
  /** Unknown keys and other things worth a line in the log. */
  readonly warnings: readonly string[]
}
