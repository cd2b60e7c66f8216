import type { Family } from '../../lib/address.ts'
import { messageOf } from '../../lib/errors.ts'
import { OpFailure } from '../table.ts'
import type { SavedChain, SavedTable } from './iptables-text.ts'
import { ruleWords } from './iptables-words.ts'
import { instanceOfChain } from './names.ts'
import { savedFromNft, withUnshown } from './nft-saved.ts'
import { nftFamily } from './nft-text.ts'
import { runProgram } from './program.ts'

/**
 * A table of iptables-nft that `iptables-save` does not print because of a rule that is nft's own. nft prints the rules; the
 * chains that are ours or lead to us are then asked for one by one, which iptables answers as long as the chain itself has no such rule.
 * Undefined: the table is gone. @throws OpFailure
 */
export async function readByNft(program: string, family: Family, table: string): Promise<SavedTable | undefined> {
  const json = await listed(family, table)
  if (json === undefined) return undefined
  const chains = new Map(parsed(savedFromNft, json, table))
  const concerned = [...chains].filter(
    ([name, { rules }]) => instanceOfChain(name) !== undefined || rules.some(leadsToUs),
  )
  const answers = concerned.map(async ([name, chain]) => [name, await printed(program, table, name, chain)] as const)
  for (const [name, chain] of await Promise.all(answers)) chains.set(name, chain)
  return chains
}

/** The same rules as iptables has printed them, with a mark on those of which it has left something out. @throws OpFailure */
export async function withUnshownOf(saved: SavedTable, family: Family, table: string): Promise<SavedTable> {
  try {
    const json = await listed(family, table)
    return json === undefined ? saved : parsed((text) => withUnshown(saved, text), json, table)
  } catch (cause) {
    if (cause instanceof OpFailure && cause.code === 'ENOSYS') return saved
    throw cause
  }
}

async function listed(family: Family, table: string): Promise<string | undefined> {
  const where = `table ${nftFamily(family)} ${table}`
  try {
    return await runProgram('nft', ['-j', 'list', 'table', nftFamily(family), table])
  } catch (cause) {
    if (!(cause instanceof OpFailure)) throw cause
    if (/No such file/.test(cause.message)) return undefined
    const remedy = `move the rules of nft in it to a table of their own (nft list ${where}), or install the package nftables`
    throw new OpFailure({ code: cause.code, message: `iptables cannot show ${where}: ${cause.message}; ${remedy}` })
  }
}

function parsed<T>(parse: (json: string) => T, json: string, table: string): T {
  try {
    return parse(json)
  } catch (cause) {
    throw new OpFailure({
      code: 'EBADMSG',
      message: `nft printed of ${table} what cannot be read: ${messageOf(cause)}`,
    })
  }
}

function leadsToUs(rule: string): boolean {
  const words = ruleWords(rule)
  return instanceOfChain(words[words.indexOf('-j') + 1] ?? '') !== undefined
}

/** In the words of iptables, where it has any for all of the chain. */
async function printed(program: string, table: string, name: string, chain: SavedChain): Promise<SavedChain> {
  try {
    const text = await runProgram(program, ['-t', table, '-S', name])
    const start = `-A ${name} `
    const rules = text.split('\n').flatMap((line) => (line.startsWith(start) ? [line.slice(start.length).trim()] : []))
    if (rules.length === chain.rules.length) return { policy: chain.policy, rules }
  } catch (cause) {
    if (!(cause instanceof OpFailure) || cause.code !== 'ESTALE') throw cause
  }
  return chain
}
