import type { NetworkConfig } from './network-config.ts'
import { familyRules, type SubnetOrigin } from './network-config.ts'

/** The document that says this configuration with every default written out, but for `Backend`. `parseNetworkConfig` of it gives the same. */
export function networkDocument({ families, nftables }: NetworkConfig, subnets: SubnetOrigin = 'leased') {
  const document: Record<string, unknown> = {}
  for (const { family, keys } of familyRules) {
    const rules = families.get(family)
    document[keys.enable] = rules !== undefined
    if (rules === undefined) continue
    document[keys.network] = rules.network
    // Where subnets are assigned nobody looks at these.
    if (subnets === 'assigned') continue
    document[keys.len] = rules.subnetLen
    document[keys.min] = rules.subnetMin
    document[keys.max] = rules.subnetMax
  }
  document['EnableNFTables'] = nftables
  return document
}
