import { constants } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '../../lib/clock.ts'
import type { Reservation } from './facts.ts'
import { CNI_STATE, readIfThere } from './read.ts'

/** Where flannel's meta-plugin keeps, by container, what it has told `bridge`. Source: flannel-io/cni-plugin, defaultDataDir. */
function directoryIn(state: string): string {
  return join(state, 'flannel')
}

/** Source: CNI specification, CNI_CONTAINERID; nothing else becomes a part of a path. */
const CONTAINER = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/

/** flannel's plugin writes its file before the address is reserved, and removes it after that is free: for so long both may be under way. */
const UNDER_WAY_MS = 60_000

/**
 * Makes containers of this node's conflist deletable by flannel's meta-plugin, and the other way round. That plugin passes a deletion on
 * only where it finds its own file of the container: without one the address stays reserved for ever. So there is one for each container
 * that has an address, and none for others (those whose deletion our conflist saw, and empty ones, over which flannel's plugin stumbles).
 */
export class HandBack {
  readonly #clock: Clock
  readonly #directory: string
  /** Containers whose file was found or written in this run. */
  readonly #seen = new Set<string>()
  /** The directory as it was after the last look. */
  #changed: number | undefined

  constructor(needs: { clock: Clock }, state: string = CNI_STATE) {
    this.#clock = needs.clock
    this.#directory = directoryIn(state)
  }

  /**
   * `delegate`: what `bridge` is told by this node's conflist.
   * @throws the system's error
   */
  async keep(network: string, delegate: string, reservations: readonly Reservation[]): Promise<void> {
    const ofNetwork = reservations.filter((one) => one.network === network)
    const containers = new Set(ofNetwork.map(({ container }) => container).filter((id) => CONTAINER.test(id)))
    const holders = new Set(reservations.map(({ container }) => container))
    const isKnown = containers.size === this.#seen.size && [...containers].every((id) => this.#seen.has(id))
    if (isKnown && this.#changed !== undefined && this.#changed === (await changedAt(this.#directory))) return
    if (containers.size > 0) await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    let isSettled = true
    for (const id of await readdir(this.#directory).catch(() => [])) {
      const path = join(this.#directory, id)
      if (holders.has(id) || !(await isOf(path, network))) continue
      if ((await ageMs(path, this.#clock.wall())) < UNDER_WAY_MS) isSettled = false
      else await rm(path, { force: true })
    }
    this.#seen.clear()
    let fault: unknown
    for (const id of containers) {
      const path = join(this.#directory, id)
      try {
        if ((await read(path)) === undefined) await write(path, delegate)
        this.#seen.add(id)
      } catch (cause) {
        fault ??= cause
      }
    }
    this.#changed = isSettled ? await changedAt(this.#directory) : undefined
    if (fault !== undefined) throw fault
  }
}

/** After a clean-up: the files of containers that have no address any more. @returns what was done, as commands */
export async function removeWayBack(
  network: string,
  reservations: readonly Reservation[],
  state: string,
): Promise<readonly string[]> {
  const directory = directoryIn(state)
  const holders = new Set(reservations.map(({ container }) => container))
  const done: string[] = []
  for (const id of await readdir(directory).catch(() => [])) {
    const path = join(directory, id)
    if (holders.has(id) || (await nameIn(path)) !== network) continue
    await rm(path, { force: true })
    done.push(`rm -f ${path}`)
  }
  return done
}

async function changedAt(directory: string): Promise<number | undefined> {
  return await stat(directory).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  )
}

async function ageMs(path: string, now: number): Promise<number> {
  return await stat(path).then(
    ({ mtimeMs }) => now - mtimeMs,
    () => 0,
  )
}

/** Of this network, or of none: empty, or half of one. */
async function isOf(path: string, network: string): Promise<boolean> {
  const isFile = await stat(path).then(
    (found) => found.isFile(),
    () => false,
  )
  const name = isFile ? await nameIn(path) : null
  return name === undefined || name === network
}

/** Undefined: it says none. Null: it cannot be read, and may be anybody's. */
async function nameIn(path: string): Promise<unknown> {
  return await read(path).then(
    (found) => found?.['name'],
    () => null,
  )
}

/** Undefined: there is none, or it is no object: empty, or half of one. @throws the system's error */
async function read(path: string): Promise<Record<string, unknown> | undefined> {
  const text = await readIfThere(path)
  try {
    const value = text === undefined ? undefined : JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

async function write(path: string, text: string): Promise<void> {
  // No container has such a name.
  const temporary = join(dirname(path), '.flanneld.new')
  await rm(temporary, { force: true })
  try {
    const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {})
    throw cause
  }
}
