import { readFileSync } from 'node:fs'
import type { Family } from '../../lib/address.ts'
import { OpFailure } from '../table.ts'
import { NO_RULES, parseSaved, type SavedRules } from './iptables-text.ts'
import type { IptablesTools } from './iptables-tools.ts'
import type { Netfilter } from './netfilter.ts'
import { type IptablesWorld, programName } from './objects.ts'
import { runProgram } from './program.ts'

interface ReaderNeeds {
  readonly tools: IptablesTools
  readonly netfilter: Netfilter
}

/** Tables that legacy iptables has made in this namespace; readable for root only. */
const LEGACY_TABLES = { 4: '/proc/net/ip_tables_names', 6: '/proc/net/ip6_tables_names' } as const

/**
 * All rules of one world and family, read by `iptables-save` only when something may have changed: in nf_tables its generation tells;
 * the legacy world tells nothing, so what was read stays until `poll` finds it changed or we change it ourselves.
 */
export class IptablesReader {
  readonly #needs: ReaderNeeds
  readonly #world: IptablesWorld
  readonly #family: Family
  #text: string | undefined
  #rules: SavedRules = NO_RULES
  #generation: number | undefined
  #stale = true

  constructor(needs: ReaderNeeds, options: { world: IptablesWorld; family: Family }) {
    this.#needs = needs
    this.#world = options.world
    this.#family = options.family
  }

  /** @throws OpFailure */
  async read(): Promise<SavedRules> {
    if (this.#world === 'nft') {
      const generation = await this.#needs.netfilter.generation()
      // A kernel without nf_tables has no rules there.
      if (generation === undefined) return NO_RULES
      if (!this.#stale && generation === this.#generation) return this.#rules
      // Noted before reading: what changes meanwhile makes the next call read again.
      this.#generation = generation
    } else if (!this.#stale) return this.#rules
    await this.poll()
    return this.#rules
  }

  /** Reads whatever was known; true: it differs from that. @throws OpFailure */
  async poll(): Promise<boolean> {
    const text = (await this.#isEmpty()) ? '' : await this.#save()
    this.#stale = false
    if (text === this.#text) return false
    this.#rules = text === '' ? NO_RULES : parseSaved(text)
    this.#text = text
    return true
  }

  /** Something was changed through a tool: the next `read` must not answer from memory. */
  forget(): void {
    this.#stale = true
    // What is as it was before our change has been changed back by somebody.
    this.#text = undefined
  }

  /** @throws OpFailure */
  async restore(input: string): Promise<void> {
    const tool = await this.#needs.tools.of(this.#world)
    const program = tool?.base ?? programName({ world: this.#world, family: 4 })
    this.forget()
    // The nft variant has no lock; it takes the option and ignores it.
    await runProgram(`${named(program, this.#family)}-restore`, ['--noflush', '-w', '2'], { input })
  }

  /** Whether there is nothing to read, found out without a program. */
  async #isEmpty(): Promise<boolean> {
    if (this.#world === 'nft') {
      const family = this.#family === 4 ? 'ip' : 'ip6'
      const tables = await this.#needs.netfilter.tables()
      return !tables.some((table) => table.family === family && (table.name === 'nat' || table.name === 'filter'))
    }
    try {
      // Asked all day long: a file that the kernel answers from memory takes longer to hand to another thread than to read.
      const names = readFileSync(LEGACY_TABLES[this.#family], 'utf8').split('\n')
      return !names.includes('nat') && !names.includes('filter')
    } catch (cause) {
      return (cause as NodeJS.ErrnoException).code === 'ENOENT'
    }
  }

  async #save(): Promise<string> {
    const tool = await this.#needs.tools.of(this.#world)
    if (tool === undefined) {
      // The kernel has rules there and nobody to read them: they may decide about our traffic.
      const name = programName({ world: this.#world, family: this.#family })
      throw new OpFailure({ code: 'ENOSYS', message: `${name}-save is not installed: install the package iptables` })
    }
    const text = await runProgram(`${named(tool.base, this.#family)}-save`, [])
    // Times and packet counts change by themselves.
    return text.replace(/^#.*\n/gm, '').replace(/ \[\d+:\d+\]$/gm, '')
  }
}

function named(base: string, family: Family): string {
  return family === 4 ? base : base.replace(/^iptables/, 'ip6tables')
}
