import { removalText, restoreText } from './iptables-text.ts'
import { nftRemoval, nftScript } from './nft-text.ts'
import { nftFamily, programName, type RuleObject } from './objects.ts'

/** As lines for a shell. An optional jump whose place may be there or not is a line that looks first. */
export function ruleChange(object: RuleObject, actual: RuleObject | undefined): readonly string[] {
  switch (object.kind) {
    case 'nft-table':
      return ["nft -f - <<'END'", `${nftScript(object)}END`]
    case 'iptables-chain': {
      const before = actual?.kind === 'iptables-chain' ? actual : undefined
      const absent = new Set(before?.jumps.flatMap(({ from, nowhere }) => (nowhere ? [from] : [])))
      const isKnown = before !== undefined || object.onlyBeside !== undefined
      const text = restoreText(object, before, (chain) => isKnown && !absent.has(chain))
      return [restore(object), `${text}END`, ...(isKnown ? [] : optionalJumps(object))]
    }
  }
}

export function ruleRemoval(object: RuleObject): readonly string[] {
  switch (object.kind) {
    case 'nft-table':
      return [`nft ${nftRemoval(object).trim()}`]
    case 'iptables-chain':
      return [restore(object), `${removalText(object)}END`]
  }
}

/** One line for logs and conditions. */
export function describeRules(object: RuleObject): string {
  switch (object.kind) {
    case 'nft-table': {
      const chains = object.chains.map(({ name, rules }) => `${name} ${count(rules.length, 'rule')}`)
      return `table ${nftFamily(object.family)} ${object.name}: ${chains.join(', ') || 'empty'}`
    }
    case 'iptables-chain': {
      const jumps = object.jumps.flatMap(({ from, nowhere }) => (nowhere ? [] : [from]))
      const from = jumps.length === 0 ? 'nothing leads into it' : `from ${jumps.join(', ')}`
      return `${programName(object)} -t ${object.table} ${object.name}: ${count(object.rules.length, 'rule')}, ${from}`
    }
  }
}

function optionalJumps({ table, jumps, ...where }: Extract<RuleObject, { kind: 'iptables-chain' }>): readonly string[] {
  const program = `${programName(where)} -t ${table}`
  return jumps
    .filter(({ optional }) => optional)
    .map(({ from, rule, place }) => {
      return `${program} -n -L ${from} >/dev/null 2>&1 && ${program} ${place === 'first' ? '-I' : '-A'} ${from} ${rule}`
    })
}

function restore(object: Extract<RuleObject, { kind: 'iptables-chain' }>): string {
  return `${programName(object)}-restore --noflush -w <<'END'`
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
