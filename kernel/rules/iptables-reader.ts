import { readFileSync } from 'node:fs'
import type { Family } from '../../lib/address.ts'
import { messageOf } from '../../lib/errors.ts'
import { OpFailure } from '../table.ts'
import { NO_RULES, parseSaved, type SavedRules, type SavedTable } from './iptables-text.ts'
import type { IptablesTools } from './iptables-tools.ts'
import { type IptablesWorld, programName } from './iptables-words.ts'
import type { Netfilter } from './netfilter.ts'
import { nftFamily } from './nft-text.ts'
import { runProgram } from './program.ts'
import { readByNft, withUnshownOf } from './unreadable-table.ts'

interface ReaderNeeds {
  readonly tools: IptablesTools
  readonly netfilter: Netfilter
}

/** Tables that legacy iptables has made in this namespace; readable for root only. */
const LEGACY_TABLES = { 4: '/proc/net/ip_tables_names', 6: '/proc/net/ip6_tables_names' } as const

/** Those that rules of ours are in, and the one that Docker drops in before. */
const DECIDING: readonly string[] = ['nat', 'filter', 'raw']
/** As in: # Table `filter' is incompatible, use 'nft' tool; or: # Table `nat' contains incompatible base-chains. */
const INCOMPATIBLE = /^# Table .(\w+).*incompatible/m

/**
 * All rules of one world and family, read by `iptables-save` only when something may have changed: in nf_tables its generation shows it;
 * the legacy world has nothing like that, so what was read stays until `poll` finds it changed or we change it ourselves.
 */
export class IptablesReader {
  readonly #needs: ReaderNeeds
  readonly #world: IptablesWorld
  readonly #family: Family
  #text: string | undefined
  /** As the tool printed it last, and last to `poll`, or at first. Who reads in between must not take a change away from whoever polls. */
  #printed: string | undefined
  #polled: string | undefined
  #rules: SavedRules = NO_RULES
  #inFull: { readonly of: SavedRules; readonly rules: SavedRules } | undefined
  #generation: number | undefined
  #stale = true
  /** Of what was changed through a tool. */
  #changes = 0
  /** Settles when nobody reads any more. */
  #reading: Promise<unknown> = Promise.resolve()

  constructor(needs: ReaderNeeds, options: { world: IptablesWorld; family: Family }) {
    this.#needs = needs
    this.#world = options.world
    this.#family = options.family
  }

  /** @throws OpFailure */
  async read(): Promise<SavedRules> {
    return await this.#oneAtATime(() => this.#read())
  }

  /** Reads whatever was known; true: it differs from that, or from what it was at the last time. @throws OpFailure */
  async poll(): Promise<boolean> {
    return await this.#oneAtATime(async () => {
      const differs = await this.#poll()
      const before = this.#polled
      this.#polled = this.#printed
      return differs || before !== this.#polled
    })
  }

  /** Who asks while somebody reads waits for the end: his program might answer with what was before, and later. */
  async #oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#reading.then(work)
    this.#reading = result.catch(() => {})
    return await result
  }

  async #read(): Promise<SavedRules> {
    if (this.#world === 'nft') {
      const generation = await this.#needs.netfilter.generation()
      // A kernel without nf_tables has no rules there.
      if (generation === undefined) return NO_RULES
      if (!this.#stale && generation === this.#generation) return this.#rules
      // Noted before reading: what changes meanwhile makes the next call read again.
      this.#generation = generation
    } else if (!this.#stale) return this.#rules
    // Where reading fails, what was known before is not the answer to the next question.
    this.#stale = true
    await this.#poll()
    return this.#rules
  }

  async #poll(): Promise<boolean> {
    const changes = this.#changes
    const tables = await this.#tables()
    const text = tables?.length === 0 ? '' : await this.#save()
    this.#printed = text
    this.#polled ??= text
    const isWhole = this.#world === 'legacy' || !INCOMPATIBLE.test(text)
    if (isWhole && text === this.#text) {
      this.#stale = changes !== this.#changes
      return false
    }
    this.#rules = await this.#complete(parse(text, this.#world), tables ?? [], text)
    // It may be from before a change that was made meanwhile.
    this.#stale = changes !== this.#changes
    // What nft had to be asked for may have changed although this text has not.
    this.#text = isWhole && !this.#stale ? text : undefined
    return true
  }

  /**
   * As `read`, with a mark on rules whose conditions the tool does not print (sets of nft): they are no rules without conditions.
   * Without nft there is nobody who made such rules. @throws OpFailure
   */
  async readInFull(): Promise<SavedRules> {
    const rules = await this.read()
    if (this.#world === 'legacy' || this.#inFull?.of === rules) return this.#inFull?.rules ?? rules
    const full = new Map<string, SavedTable>()
    for (const [name, table] of rules) {
      const isNfts = [...table.values()].some(({ handles }) => handles !== undefined)
      full.set(name, isNfts || !DECIDING.includes(name) ? table : await withUnshownOf(table, this.#family, name))
    }
    this.#inFull = { of: rules, rules: full }
    return full
  }

  /** Something was changed through a tool: the next `read` must not answer from memory. */
  forget(): void {
    this.#changes += 1
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

  /** Tables that decide about our packets and are there, found out without a program; undefined: only a program can find out. */
  async #tables(): Promise<readonly string[] | undefined> {
    if (this.#world === 'nft') {
      const family = nftFamily(this.#family)
      const tables = await this.#needs.netfilter.tables()
      return tables.flatMap((table) => (table.family === family && DECIDING.includes(table.name) ? [table.name] : []))
    }
    try {
      // Asked all day long: a file that the kernel answers from memory takes longer to hand to another thread than to read.
      const names = readFileSync(LEGACY_TABLES[this.#family], 'utf8').split('\n')
      return names.filter((name) => DECIDING.includes(name))
    } catch (cause) {
      // Only this means that nobody has used the legacy tables.
      return (cause as NodeJS.ErrnoException).code === 'ENOENT' ? [] : undefined
    }
  }

  /** What the program does not print although it is there is not absent. */
  async #complete(saved: SavedRules, tables: readonly string[], text: string): Promise<SavedRules> {
    const partial = new Set([...text.matchAll(new RegExp(INCOMPATIBLE, 'gm'))].map(([, name]) => name))
    const missing = tables.filter((name) => !saved.has(name) || partial.has(name))
    if (missing.length === 0) return saved
    const program = programName({ world: this.#world, family: this.#family })
    if (this.#world === 'legacy')
      throw new OpFailure({
        code: 'EBADMSG',
        message: `${program}-save does not print the table ${missing.join(', ')}`,
      })
    const tool = await this.#needs.tools.of('nft')
    const base = named(tool?.base ?? programName({ world: 'nft', family: 4 }), this.#family)
    const rules = new Map(saved)
    for (const name of missing) {
      const table = await readByNft(base, this.#family, name)
      if (table === undefined) rules.delete(name)
      else rules.set(name, table)
    }
    return rules
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
    return text.replace(/^# (?!Table).*\n/gm, '').replace(/ \[\d+:\d+\]$/gm, '')
  }
}

function parse(text: string, world: IptablesWorld): SavedRules {
  try {
    return text === '' ? NO_RULES : parseSaved(text)
  } catch (cause) {
    // Cut off, it would be taken for a host without our rules.
    throw new OpFailure({ code: 'EBADMSG', message: `iptables-${world}-save: ${messageOf(cause)}` })
  }
}

function named(base: string, family: Family): string {
  return family === 4 ? base : base.replace(/^iptables/, 'ip6tables')
}
