import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostKernel } from '../../kernel/host.ts'
import { parseIp } from '../../lib/address.ts'
import { readSystemError } from '../../lib/system-error.ts'
import type { BridgeFacts, CniFacts, Reservation } from './facts.ts'

/** Where plugins keep their state, whatever the runtime. Source: containernetworking/plugins, host-local; flannel-io/cni-plugin. */
export const CNI_STATE = '/var/lib/cni'
export const STORES = join(CNI_STATE, 'networks')

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
  try {
    const found = await stat(path)
    return found.isFile() && found.size <= MOST_BYTES ? await readFile(path, 'utf8') : undefined
  } catch {
    return undefined
  }
}

/** Reads host-local's stores; one that has not changed since the last time is not read again. */
export class ReservationReader {
  readonly #known = new Map<string, { readonly changed: number; readonly found: readonly Reservation[] }>()

  async read(): Promise<Read<readonly Reservation[]>> {
    const { found: networks, unreadable } = await list(STORES)
    const all: Reservation[] = []
    const faults = [...unreadable]
    for (const network of networks) {
      const path = join(STORES, network)
      const changed = await stat(path).then(
        (store) => (store.isDirectory() ? store.mtimeMs : undefined),
        () => undefined,
      )
      if (changed === undefined) continue
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
  for (const name of names) {
    const address = parseIp(name)
    const text = address === undefined ? undefined : await readSmall(join(path, name))
    if (address === undefined || text === undefined) continue
    found.push({ network, address, container: text.split(/\r?\n/, 1)[0]?.trim() ?? '' })
  }
  return { found, unreadable }
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
    if (code === 'ENOENT' || code === 'ENOTDIR') return { found: [], unreadable: [] }
    return { found: [], unreadable: [{ path: directory, code, message }] }
  }
}
