import type { Cidr } from '../../lib/address.ts'
import { networkAddress, prefixLength } from '../../lib/address.ts'
import { instanceOfChain, instanceOfTable, NFT_CHAINS } from './names.ts'
import { type RuleObject, ruleWords } from './objects.ts'

interface RuleScope {
  readonly instance?: string
  readonly networks: readonly { readonly network: Cidr }[]
}

/**
 * Whose a chain or table is. Names tell: those with our instance in them are ours. flannel's own names belong to the default
 * instance; another one takes away what stands there only if it speaks of a network of its own: flannel ran here in its place.
 */
export function ownershipOfRules(
  object: RuleObject,
  wanted: boolean,
  scope: RuleScope,
): 'ours' | 'adoptable' | 'leftover' | 'foreign' {
  const instance = scope.instance ?? ''
  switch (object.kind) {
    case 'iptables-chain': {
      if (wanted) return 'adoptable'
      const named = instanceOfChain(object.name)
      if (named === instance) return 'ours'
      const words = new Set(object.rules.flatMap(ruleWords))
      return named === '' && scope.networks.some(({ network }) => words.has(network)) ? 'leftover' : 'foreign'
    }
    case 'nft-table': {
      const known: readonly string[] = Object.values(NFT_CHAINS)
      if (object.alien || object.chains.some(({ name }) => !known.includes(name))) return 'foreign'
      if (wanted) return 'adoptable'
      const named = instanceOfTable(object.name)
      if (named === instance) return 'ours'
      const rules = object.chains.flatMap((chain) => chain.rules)
      // Rules with a mark are another instance's, whatever network they speak of.
      if (named !== '' || rules.some(({ mark }) => mark !== '')) return 'foreign'
      return scope.networks.some(({ network }) => rules.some(({ text }) => text.includes(prefixJson(network))))
        ? 'leftover'
        : 'foreign'
    }
  }
}

/** A prefix as `nft -j` prints it. */
export function prefixJson(network: Cidr): string {
  return JSON.stringify({ prefix: { addr: networkAddress(network), len: prefixLength(network) } })
}
