import type { GuardObject } from './objects.ts'
import { chainsRemoval, chainsScript, peerCommands, setsRemoval, setsScript } from './text.ts'

/** As lines for a shell. */
export function guardChange(object: GuardObject, actual: GuardObject | undefined): readonly string[] {
  switch (object.kind) {
    case 'guard-sets':
      return script(setsScript(object))
    case 'guard-peer':
      if (actual?.kind !== 'guard-peer') return peerCommands({ verb: 'create', object })
      return peerCommands({ verb: 'update', object, actual })
    case 'guard-chains':
      return script(chainsScript(object, actual?.kind === 'guard-chains' ? actual : undefined))
  }
}

export function guardRemoval(object: GuardObject): readonly string[] {
  switch (object.kind) {
    case 'guard-sets':
      return [`nft ${setsRemoval(object).trim()}`]
    case 'guard-peer':
      return peerCommands({ verb: 'remove', object })
    case 'guard-chains':
      return script(chainsRemoval(object))
  }
}

/** One line for logs and conditions. */
export function describeGuard(object: GuardObject): string {
  switch (object.kind) {
    case 'guard-sets':
      return `table inet ${object.table}: ${object.sets.length} sets, ${object.counters.length} counters`
    case 'guard-peer': {
      const senders = object.senders.map(({ device, source }) => `${source} by ${device}`)
      return `guard lets in ${object.name}: outer ${object.vteps.join(' ') || 'none'}; inner ${senders.join(', ') || 'none'}`
    }
    case 'guard-chains': {
      const rules = object.chains.reduce((sum, chain) => sum + chain.rules.length, 0)
      return `table inet ${object.table}: ${object.chains.length} chains, ${rules} rules`
    }
  }
}

function script(text: string): readonly string[] {
  return ["nft -f - <<'END'", `${text}END`]
}
