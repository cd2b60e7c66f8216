import { nftFamily } from '../../rules/nft-text.ts'
import { type IptablesChain, type IptablesJump, jumpText } from './chain.ts'

/**
 * Input of `iptables-restore --noflush` that makes the chain and its jumps what they shall be, in one transaction. A jump that
 * is right stays where it is. `exists` tells whether a chain that an optional jump would stand in is there.
 */
export function restoreText(
  chain: IptablesChain,
  actual: IptablesChain | undefined,
  exists: (chain: string) => boolean,
): string {
  const lines = [`*${chain.table}`, `:${chain.name} - [0:0]`]
  const wanted = chain.jumps.filter(({ from, optional }) => !optional || exists(from))
  const missing = new Map(wanted.map((jump) => [jumpText(jump), jump]))
  for (const jump of actual?.jumps ?? []) {
    if (isNowhere(jump, exists)) continue
    // What is wanted stays once; of two equal rules the first goes.
    if (!missing.delete(jumpText(jump)) && jump.handle === undefined) lines.push(`-D ${jump.from} ${jump.rule}`)
  }
  for (const rule of chain.rules) lines.push(`-A ${chain.name} ${rule}`)
  for (const { from, rule, place } of missing.values()) lines.push(`${place === 'first' ? '-I' : '-A'} ${from} ${rule}`)
  return `${[...lines, 'COMMIT'].join('\n')}\n`
}

export function removalText(chain: IptablesChain, exists: (chain: string) => boolean): string {
  const jumps = chain.jumps
    .filter((jump) => !isNowhere(jump, exists) && jump.handle === undefined)
    .map(({ from, rule }) => `-D ${from} ${rule}`)
  return `${[`*${chain.table}`, ...jumps, `-F ${chain.name}`, `-X ${chain.name}`, 'COMMIT'].join('\n')}\n`
}

/** What was written and not read again since has no mark for it. */
function isNowhere({ from, optional, nowhere }: IptablesJump, exists: (chain: string) => boolean): boolean {
  return nowhere === true || (optional === true && !exists(from))
}

/**
 * The same for jumps that iptables cannot take away, because it cannot read the rules beside them: a script for nft, to be run before;
 * empty where there are none. Removes all of them where nothing is wanted.
 */
export function unreadableJumps(actual: IptablesChain, wanted: IptablesChain | undefined): string {
  const missing = new Set(wanted?.jumps.map(jumpText))
  return actual.jumps
    .filter((jump) => !missing.delete(jumpText(jump)) && jump.handle !== undefined)
    .map(({ from, handle }) => `delete rule ${nftFamily(actual.family)} ${actual.table} ${from} handle ${handle}\n`)
    .join('')
}
