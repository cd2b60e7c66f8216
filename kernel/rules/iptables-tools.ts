import { messageOf } from '../../lib/errors.ts'
import { OpFailure } from '../table.ts'
import type { IptablesWorld } from './iptables-words.ts'
import { runProgram } from './program.ts'

export interface IptablesTool {
  readonly world: IptablesWorld
  /** `iptables-nft`, or plain `iptables` where that is the only name; with `-save` and `-restore` behind it. */
  readonly base: string
  /** As in [1, 8, 9]. */
  readonly version: readonly number[]
}

/** Which iptables programs this host has. Asked once; what is missing is looked for again each time, in case it gets installed. */
export class IptablesTools {
  readonly #known = new Map<string, Promise<IptablesTool | undefined>>()

  /** Of one world; undefined: not installed. @throws OpFailure */
  async of(world: IptablesWorld): Promise<IptablesTool | undefined> {
    const named = await this.#ask(`iptables-${world}`)
    // Older and smaller distributions have one program, without the world in its name.
    const tool = named ?? (await this.standard())
    return tool?.world === world ? tool : undefined
  }

  /** What `iptables` is here: the one that operators and Docker use. @throws OpFailure */
  async standard(): Promise<IptablesTool | undefined> {
    return await this.#ask('iptables')
  }

  async #ask(base: string): Promise<IptablesTool | undefined> {
    const asked = this.#known.get(base) ?? askVersion(base)
    this.#known.set(base, asked)
    try {
      const tool = await asked
      if (tool === undefined) this.#known.delete(base)
      return tool
    } catch (cause) {
      this.#known.delete(base)
      throw cause
    }
  }
}

async function askVersion(base: string): Promise<IptablesTool | undefined> {
  let text: string
  try {
    text = await runProgram(base, ['-V'])
  } catch (cause) {
    if (cause instanceof OpFailure && cause.code === 'ENOSYS') return undefined
    throw cause
  }
  const match = /v(\d+)\.(\d+)\.(\d+)/.exec(text)
  if (match === null) throw new OpFailure({ code: 'ENOSYS', message: `${base} tells no version: ${messageOf(text)}` })
  // Before 1.8 there was one world only and its name was not told.
  const world = text.includes('nf_tables') ? 'nft' : 'legacy'
  return { world, base, version: match.slice(1).map(Number) }
}
