import type { OwnershipScope } from '../../kernel/desired.ts'
import { addressBits, familyOf, parseCidr, prefixLength } from '../../lib/address.ts'
import { ConfigError, messageOf, printable } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import { type Logger, silentLogger } from '../../lib/log.ts'
import { BorrowedSysctls } from './borrowed-sysctls.ts'
import { PrivateFiles } from './private-files.ts'

export type Footprint = OwnershipScope

const NODE_ID = 'node-id'
const FOOTPRINT = 'footprint.json'
const MOST_NETWORKS = 100
const MOST_DEVICES = 100

/** What this instance must know again after a restart: who it is, and which networks and devices it has ever used. */
export class StateDir {
  readonly #files: PrivateFiles
  readonly #log: Logger
  readonly #randomBytes: (count: number) => Uint8Array
  readonly #sysctls: BorrowedSysctls
  #footprint: Footprint = { devices: new Set(), networks: [] }

  private constructor(needs: StateDirNeeds, files: PrivateFiles, sysctls: BorrowedSysctls) {
    this.#files = files
    this.#sysctls = sysctls
    this.#log = needs.log
    this.#randomBytes = needs.randomBytes
  }

  /** @throws PermissionError when the directory or a file in it is not ours alone */
  static async open(needs: StateDirNeeds, path: string): Promise<StateDir> {
    const files = await PrivateFiles.open(path, needs.uid)
    const state = new StateDir(needs, files, await BorrowedSysctls.open({ files, log: needs.log }))
    state.#footprint = (await state.#readFootprint()) ?? state.#footprint
    return state
  }

  get files(): PrivateFiles {
    return this.#files
  }

  get sysctls(): BorrowedSysctls {
    return this.#sysctls
  }

  /** 128 random bits as 32 hexadecimal digits, made at the first start. Not machine-id: cloned machines share that. */
  async nodeId(): Promise<string> {
    const text = await this.#files.read(NODE_ID)
    if (text !== undefined && /^[0-9a-f]{32}\n?$/.test(text)) return text.trim()
    if (text !== undefined) {
      this.#log.warn('node identity was damaged and made anew', { file: `${this.#files.path}/${NODE_ID}` })
    }
    const fresh = Buffer.from(this.#randomBytes(16)).toString('hex')
    await this.#files.write(NODE_ID, `${fresh}\n`)
    return fresh
  }

  /** Everything this instance may call its own in the kernel. */
  get footprint(): Footprint {
    return this.#footprint
  }

  /** Adds to the footprint. Await it before the first of these is made, else a crash in between leaves an orphan. */
  async record(more: Footprint): Promise<void> {
    const before = this.#footprint
    const devices = new Set([...before.devices, ...more.devices])
    const fouPorts = new Set([...(before.fouPorts ?? []), ...(more.fouPorts ?? [])])
    const networks = [...before.networks]
    for (const each of more.networks) if (!networks.some((known) => sameNetwork(known, each))) networks.push(each)
    const sizes = [devices.size, fouPorts.size, networks.length]
    const sizesBefore = [before.devices.size, before.fouPorts?.size ?? 0, before.networks.length]
    if (sizes.every((size, index) => size === sizesBefore[index])) return
    // The oldest go first; without a limit a config that flaps for years would fill the disk.
    const next = footprint(
      [...devices].slice(-MOST_DEVICES),
      [...fouPorts].slice(-MOST_DEVICES),
      networks.slice(-MOST_NETWORKS),
    )
    await this.#write(next)
    this.#footprint = next
  }

  /** After a clean-up: nothing of ours is left in the kernel. */
  async forget(): Promise<void> {
    this.#footprint = { devices: new Set(), networks: [] }
    await this.#files.remove(FOOTPRINT)
  }

  async #write({ devices, fouPorts, networks }: Footprint): Promise<void> {
    const ports = fouPorts === undefined ? {} : { fouPorts: [...fouPorts] }
    await this.#files.write(FOOTPRINT, `${JSON.stringify({ version: 1, devices: [...devices], ...ports, networks })}\n`)
  }

  async #readFootprint(): Promise<Footprint | undefined> {
    const text = await this.#files.read(FOOTPRINT)
    if (text === undefined) return undefined
    try {
      return parseFootprint(text, (device) =>
        this.#log.warn('device on record can be none of any kernel, not heeded any more', {
          device: printable(device),
        }),
      )
    } catch (cause) {
      this.#log.warn('record of used networks was damaged and begun anew', {
        file: `${this.#files.path}/${FOOTPRINT}`,
        cause: messageOf(cause),
        effect: 'leftovers of earlier configurations are not found any more',
      })
      return undefined
    }
  }
}

/** What a start would find on record, read without writing anything; undefined when there was no start yet. */
export interface PeekedState {
  readonly nodeId: string
  readonly footprint: Footprint
  readonly borrowed: ReadonlyMap<string, string>
}

/** @throws PermissionError */
export async function peekState(path: string, uid: number): Promise<PeekedState | undefined> {
  const files = await PrivateFiles.peek(path, uid)
  if (files === undefined) return undefined
  const nodeId = (await files.read(NODE_ID))?.trim() ?? ''
  const text = await files.read(FOOTPRINT)
  const footprint = text === undefined ? { devices: new Set<string>(), networks: [] } : parseFootprint(text)
  const { originals } = await BorrowedSysctls.open({ files, log: silentLogger })
  return { nodeId, footprint, borrowed: originals }
}

export interface StateDirNeeds {
  readonly log: Logger
  /** Cryptographically strong. */
  readonly randomBytes: (count: number) => Uint8Array
  /** Of this process. */
  readonly uid: number
}

/**
 * `onDropped` hears of what is no device name. Version 0.1 wrote some that are too long, and the rest of its record is true.
 *
 * @throws ConfigError or SyntaxError
 */
export function parseFootprint(text: string, onDropped: (device: unknown) => void = () => {}): Footprint {
  const fields = new JsonFields(JSON.parse(text), '')
  if (fields.integer('version', { least: 0, most: 1_000_000, fallback: 0 }) !== 1)
    throw new ConfigError('version', 'must be 1')
  const devices = listOf(fields, 'devices').flatMap((value) => {
    if (typeof value === 'string' && /^[^\s/\0]{1,15}$/.test(value)) return [value]
    onDropped(value)
    return []
  })
  const networks = listOf(fields, 'networks').map((value) => {
    const entry = new JsonFields(value, 'networks')
    const network = parseCidr(entry.string('network') ?? '')
    if (network === undefined) throw new ConfigError(entry.at('network'), 'must be a prefix')
    const least = prefixLength(network)
    const subnetLen = entry.integer('subnetLen', { least, most: addressBits(familyOf(network)), fallback: least })
    return { network, subnetLen }
  })
  const fouPorts = fields.has('fouPorts') ? listOf(fields, 'fouPorts').map(portOf) : []
  return footprint(devices, fouPorts, networks)
}

function footprint(
  devices: readonly string[],
  fouPorts: readonly number[],
  networks: Footprint['networks'],
): Footprint {
  return { devices: new Set(devices), ...(fouPorts.length === 0 ? {} : { fouPorts: new Set(fouPorts) }), networks }
}

function portOf(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 65535) return value
  throw new ConfigError('fouPorts', 'must be port numbers', value)
}

function listOf(fields: JsonFields, name: string): readonly unknown[] {
  const value = fields.raw(name)
  if (!Array.isArray(value)) throw new ConfigError(name, 'must be a list', value)
  return value
}

function sameNetwork(a: Footprint['networks'][number], b: Footprint['networks'][number]): boolean {
  return a.network === b.network && a.subnetLen === b.subnetLen
}
