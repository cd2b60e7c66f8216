import { messageOf } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import type { Logger } from '../../lib/log.ts'
import type { StateFiles } from '../state/state-files.ts'
import type { CniNetwork } from './conflist.ts'

const FILE = 'cni.json'
const WITHOUT = 'a clean-up or a start with other options would leave the CNI configuration and plugins of this one'

/** A plugin that was copied to where the runtime looks for it, as it was then. */
export interface InstalledPlugin {
  readonly path: string
  /** Bytes. */
  readonly size: number
  readonly mtimeMs: number
  readonly sha256: string
}

interface Recorded {
  /** Undefined: no conflist was written. */
  readonly network: CniNetwork | undefined
  /** Conflists of earlier starts that are not removed yet. */
  readonly former: readonly CniNetwork[]
  readonly plugins: readonly InstalledPlugin[]
}

/** What this instance has put beside container runtimes: kept in the state directory, so that the next start and a clean-up know it. */
export class CniRecord {
  readonly #files: Pick<StateFiles, 'keep'>
  readonly #plugins: Map<string, InstalledPlugin>
  #network: CniNetwork | undefined
  #former: readonly CniNetwork[]

  constructor(files: Pick<StateFiles, 'keep'>, { network, former, plugins }: Recorded) {
    this.#files = files
    this.#network = network
    this.#former = former
    this.#plugins = new Map(plugins.map((plugin) => [plugin.path, plugin]))
  }

  installed(path: string): InstalledPlugin | undefined {
    return this.#plugins.get(path)
  }

  async install(plugin: InstalledPlugin): Promise<void> {
    this.#plugins.set(plugin.path, plugin)
    await this.#keep()
  }

  async use(network: CniNetwork | undefined, former: readonly CniNetwork[]): Promise<void> {
    this.#network = network
    this.#former = former
    await this.#keep()
  }

  async #keep(): Promise<void> {
    const text = JSON.stringify({ ...this.#network, former: this.#former, plugins: [...this.#plugins.values()] })
    await this.#files.keep(FILE, `${text}\n`, WITHOUT)
  }
}

/** Of earlier runs; a damaged file is as good as none. */
export async function readRecord({
  files,
  log,
}: {
  files: Pick<StateFiles, 'path' | 'read'>
  log: Logger
}): Promise<Recorded> {
  const none: Recorded = { network: undefined, former: [], plugins: [] }
  try {
    const text = await files.read(FILE)
    return text === undefined ? none : parse(JSON.parse(text))
  } catch (cause) {
    log.warn('record of CNI files cannot be used', { file: `${files.path}/${FILE}`, cause: messageOf(cause) })
    return none
  }
}

/** Of all that was on record these plugins are left. */
export async function keepPlugins(
  files: Pick<StateFiles, 'keep' | 'remove'>,
  plugins: readonly InstalledPlugin[],
): Promise<void> {
  if (plugins.length === 0) await forgetRecord(files)
  else await new CniRecord(files, { network: undefined, former: [], plugins }).use(undefined, [])
}

export async function forgetRecord(files: Pick<StateFiles, 'remove'>): Promise<void> {
  await files.remove(FILE)
}

/** @throws ConfigError or SyntaxError */
function parse(value: unknown): Recorded {
  const fields = new JsonFields(value, '')
  const former = listOf(fields, 'former').flatMap((item) => networkOf(new JsonFields(item, 'former')) ?? [])
  const plugins = listOf(fields, 'plugins').map((item): InstalledPlugin => {
    const plugin = new JsonFields(item, 'plugins')
    const [path, sha256] = [plugin.string('path'), plugin.string('sha256')]
    const [size, mtimeMs] = [plugin.raw('size'), plugin.raw('mtimeMs')]
    if (path === undefined || sha256 === undefined || typeof size !== 'number' || typeof mtimeMs !== 'number')
      throw new SyntaxError('an entry names no plugin')
    return { path, size, mtimeMs, sha256 }
  })
  return { network: networkOf(fields), former, plugins }
}

function networkOf(fields: JsonFields): CniNetwork | undefined {
  const [confFile, name] = [fields.string('confFile'), fields.string('name')]
  return confFile === undefined || name === undefined ? undefined : { confFile, name }
}

function listOf(fields: JsonFields, name: string): readonly unknown[] {
  const list = fields.raw(name) ?? []
  if (!Array.isArray(list)) throw new SyntaxError(`${name} is no list`)
  return list
}
