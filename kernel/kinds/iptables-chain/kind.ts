import { programName, ruleWords } from '../../rules/iptables-words.ts'
import { instanceOfChain } from '../../rules/names.ts'
import type { Kind } from '../kind.ts'
import { type IptablesChain, sameChain } from './chain.ts'
import { removalText, restoreText } from './script.ts'

export type { IptablesChain, IptablesJump } from './chain.ts'

export const iptablesChain: Kind<IptablesChain> = {
  name: 'iptables-chain',
  events: true,
  removed: true,
  paced: true,
  alsoDoneBy: ['nft-table'],
  key: (object) => `iptables-chain ${programName(object)} ${object.table} ${object.name}`,
  compare: (actual, desired) => (sameChain(actual, desired) ? 'same' : 'update'),
  // The name tells: one with our instance in it is ours. flannel's own names belong to the default instance; another one takes
  // away what stands there only if it speaks of a network of its own: flannel ran here in its place.
  ownership(actual, wanted, { scope }) {
    if (wanted !== undefined) return 'adoptable'
    const named = instanceOfChain(actual.name)
    if (named === (scope.instance ?? '')) return 'ours'
    const words = new Set(actual.rules.flatMap(ruleWords))
    return named === '' && scope.networks.some(({ network }) => words.has(network)) ? 'leftover' : 'foreign'
  },
  describe(object) {
    const jumps = object.jumps.flatMap(({ from, nowhere }) => (nowhere ? [] : [from]))
    const from = jumps.length === 0 ? 'nothing leads into it' : `from ${jumps.join(', ')}`
    const rules = `${object.rules.length} rule${object.rules.length === 1 ? '' : 's'}`
    return `${programName(object)} -t ${object.table} ${object.name}: ${rules}, ${from}`
  },
  commands: {
    create: (object) => change(object, undefined),
    update: change,
    remove: (object) => `${restore(object)}\n${removalText(object, () => true)}END`,
  },
}

function change(object: IptablesChain, actual: IptablesChain | undefined): readonly string[] {
  const absent = new Set(actual?.jumps.flatMap(({ from, nowhere }) => (nowhere ? [from] : [])))
  const isKnown = actual !== undefined || object.onlyBeside !== undefined
  const text = restoreText(object, actual, (chain) => isKnown && !absent.has(chain))
  return [restore(object), `${text}END`, ...(isKnown ? [] : optionalJumps(object))]
}

/** Their place may be there or not: each is a line that looks first. */
function optionalJumps({ table, jumps, ...where }: IptablesChain): readonly string[] {
  const program = `${programName(where)} -t ${table}`
  return jumps
    .filter(({ optional }) => optional)
    .map(({ from, rule, place }) => {
      return `${program} -n -L ${from} >/dev/null 2>&1 && ${program} ${place === 'first' ? '-I' : '-A'} ${from} ${rule}`
    })
}

function restore(object: IptablesChain): string {
  return `${programName(object)}-restore --noflush -w <<'END'`
}
