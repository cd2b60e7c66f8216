import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostKernel } from '../../kernel/host.ts'
import { parseIp } from '../../lib/address.ts'
import { readSystemError } from '../../lib/system-error.ts'
import type { BridgeFacts, CniFacts, Reservation } from './facts.ts'

/** Where plugins keep their state, whatever the runtime; tests have another place. Source: containernetworking/plugins, host-local; flannel-io/cni-plugin. */
export const CNI_STATE = '/var/lib/cni'

const MOST_BYTES = 1 << 20
/** Source: containernetworking/cni, libcni, ConfFiles. */
const CONFIG = /\.(conf|conflist|json)$/

type Unreadable = CniFacts['unreadable'][number]

/** What is not there is empty; what the system refuses is said beside. */
interface Read<T> {
  readonly found: T
  readonly unreadable: readonly Unreadable[]
}

/** The network configurations of a directory, in the order in which runtimes look at them. */
export async function readConfigs(directory: string): Promise<Read<CniFacts['configs']>> {
  const { found: names, unreadable } = await list(directory)
  const configs: CniFacts['configs'][number][] = []
  // By their bytes, as Go sorts them.
  for (const name of names
    .filter((each) => CONFIG.test(each))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
    configs.push({ name, text: await readSmall(join(directory, name)) })
  return { found: configs, unreadable }
}

/** Undefined for what cannot be read, or is too large or no plain file. */
export async function readSmall(path: string): Promise<string | undefined> {
  return await readIfThere(path).catch(() => undefined)
}

/** Undefined for what is not there, or is too large or no plain file. @throws the system's error */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path)
    return found.isFile() && found.size <= MOST_BYTES ? await readFile(path, 'utf8') : undefined
  } catch (cause) {
    if (isMissing(readSystemError(cause).code)) return undefined
    throw cause
  }
}

/** host-local's stores, a directory for each network. */
export function storesIn(state: string): string {
  return join(state, 'networks')
}

/** Reads host-local's stores; one that has not changed since the last time is not read again. */
export class ReservationReader {
  readonly #stores: string
  readonly #known = new Map<string, { readonly changed: number; readonly found: readonly Reservation[] }>()

  constructor(state: string = CNI_STATE) {
    this.#stores = storesIn(state)
  }

  async read(): Promise<Read<readonly Reservation[]>> {
    const { found: networks, unreadable } = await list(this.#stores)
    const all: Reservation[] = []
    const faults = [...unreadable]
    for (const network of networks) {
      const path = join(this.#stores, network)
      const changed = await changedAt(path)
      if (typeof changed === 'object') faults.push(changed)
      if (typeof changed !== 'number') continue
      let known = this.#known.get(network)
      if (known?.changed !== changed) {
        const read = await readStore(path, network)
        faults.push(...read.unreadable)
        known = { changed, found: read.found }
        if (read.unreadable.length === 0) this.#known.set(network, known)
      }
      all.push(...known.found)
    }
    for (const network of this.#known.keys()) if (!networks.includes(network)) this.#known.delete(network)
    return { found: all, unreadable: faults }
  }
}

/** A file for each address, with the container in its first line and the interface in its second. */
async function readStore(path: string, network: string): Promise<Read<readonly Reservation[]>> {
  const { found: names, unreadable } = await list(path)
  const found: Reservation[] = []
  // One fault tells it: a store has as many files as containers.
  let fault: Unreadable | undefined
  for (const name of names) {
    const address = parseIp(name)
    if (address === undefined) continue
    try {
      const text = await readIfThere(join(path, name))
      if (text !== undefined) found.push({ network, address, container: text.split(/\r?\n/, 1)[0]?.trim() ?? '' })
    } catch (cause) {
      fault ??= { path, ...readSystemError(cause) }
    }
  }
  return { found, unreadable: fault === undefined ? unreadable : [...unreadable, fault] }
}

/** When a store was changed last; undefined: it is gone, or no directory. */
async function changedAt(path: string): Promise<number | Unreadable | undefined> {
  try {
    const store = await stat(path)
    return store.isDirectory() ? store.mtimeMs : undefined
  } catch (cause) {
    const { code, message } = readSystemError(cause)
    return isMissing(code) ? undefined : { path, code, message }
  }
}

export async function readBridge(
  host: Pick<HostKernel, 'listInterfaces'>,
  name: string,
): Promise<BridgeFacts | undefined> {
  const interfaces = await host.listInterfaces()
  const bridge = interfaces.find((one) => one.name === name && one.kind === 'bridge')
  if (bridge === undefined) return undefined
  const ports = interfaces.filter(({ master }) => master === bridge.index).length
  return { name, addresses: bridge.addresses, ports }
}

async function list(directory: string): Promise<Read<readonly string[]>> {
  try {
    return { found: await readdir(directory), unreadable: [] }
  } catch (cause) {
    const { code, message } = readSystemError(cause)
    return { found: [], unreadable: isMissing(code) ? [] : [{ path: directory, code, message }] }
  }
}

function isMissing(code: string): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR'
}
