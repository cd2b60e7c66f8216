import { closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { OwnershipScope } from '../../kernel/desired.ts'
import { tryLock } from '../../kernel/ffi/lock.ts'
import { overlaps } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { AlreadyRunningError, ConfigError, PermissionError } from '../../lib/errors.ts'
import type { DiskWrites } from './disk-writes.ts'
import { makeFolders } from './folders.ts'
import type { Instance } from './instance.ts'
import { parseScope, scopeText } from './journal-files.ts'
import { isStill, overwrite } from './lock-file.ts'
import { asPermissionError } from './private-files.ts'

const FILE = 'claim.json'
/** Who looks whether we run holds our lock for a moment. */
const TRIES = 100
const AGAIN_MS = 10

interface ClaimNeeds {
  readonly writes: DiskWrites
  readonly clock: Clock
  readonly signal: AbortSignal
}

interface ClaimOptions {
  readonly instance: Instance
  readonly pid: number
  readonly etcdPrefix: string
  readonly subnetFile: string
}

/**
 * Says what this instance uses, for as long as the process lives, and looks what the other running instances of this
 * state directory use: with a shared device or network each would take the other's objects for its own and remove them.
 */
export class InstanceClaim {
  readonly #needs: ClaimNeeds
  readonly #options: ClaimOptions
  // The kernel gives the lock back when the process ends, however it ends.
  #fd: number | undefined
  #text = ''

  constructor(needs: ClaimNeeds, options: ClaimOptions) {
    this.#needs = needs
    this.#options = options
  }

  /**
   * Await it before anything of `footprint` is made. The claim is written before the others are read: of two that start
   * at once at least one sees the other. Returns what the others use; that is theirs, whatever this instance once made.
   * What is refused is taken back, and the claim made last stands.
   *
   * @throws ConfigError naming the other
   */
  async make(footprint: OwnershipScope): Promise<readonly OwnershipScope[]> {
    const { instance, pid, etcdPrefix, subnetFile } = this.#options
    const who = `pid ${pid}, etcd prefix ${etcdPrefix}, subnet file ${subnetFile}`
    const before = this.#text
    this.#text = `${JSON.stringify({ who, ...JSON.parse(scopeText(footprint)) })}\n`
    await this.#write()
    const others = othersOf(instance)
    try {
      for (const other of others) refuseConflict(footprint, other)
    } catch (cause) {
      // Of one that has claimed nothing yet the refused claim stands until its process ends with this very fault.
      if (before !== '') {
        this.#text = before
        await this.#write()
      }
      throw cause
    }
    return others.map((other) => other.footprint)
  }

  /** Makes the claim again where somebody has removed the file, with the whole directory perhaps. */
  async look(): Promise<void> {
    if (this.#fd === undefined || isStill(this.#path, this.#fd)) return
    closeSync(this.#fd)
    this.#fd = undefined
    await this.#write()
  }

  get #path(): string {
    return join(this.#options.instance.stateDir, FILE)
  }

  async #write(): Promise<void> {
    const path = this.#path
    const write = async () => {
      this.#fd ??= await this.#lock(path)
      overwrite(this.#fd, this.#text)
    }
    await this.#needs.writes.attempt({ path, effect: 'other instances do not see what this one uses', write })
  }

  async #lock(path: string): Promise<number> {
    const { clock, signal } = this.#needs
    const fd = openClaim(path)
    for (let tries = 0; !tryLock(fd); tries += 1) {
      if (tries === TRIES) {
        closeSync(fd)
        throw new AlreadyRunningError(`another flanneld holds ${path}`)
      }
      await clock.sleep(AGAIN_MS, signal)
    }
    return fd
  }
}

/** @throws PermissionError for what somebody put in its place */
function openClaim(path: string): number {
  try {
    makeFolders(dirname(path), 0o700)
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ELOOP') throw new PermissionError(`${path} is a symbolic link; remove it`, { cause })
    if (code === 'EISDIR') throw new PermissionError(`${path} is no plain file; remove it`, { cause })
    throw asPermissionError(path, cause)
  }
}

/** What the other running instances of this state directory use. */
export function claimedByOthers(instance: Instance): readonly OwnershipScope[] {
  return othersOf(instance).map(({ footprint }) => footprint)
}

interface Other {
  readonly who: string
  readonly footprint: OwnershipScope
}

// The default instance lies in the state directory itself, the others in folders below it.
function othersOf({ name, stateDir }: Instance): readonly Other[] {
  const root = name === '' ? stateDir : dirname(stateDir)
  const folders = entriesOf(root).filter((entry) => /^[0-9a-f]{8}$/.test(entry))
  return [root, ...folders.map((folder) => join(root, folder))]
    .filter((folder) => folder !== stateDir)
    .flatMap((folder) => runningClaim(join(folder, FILE)) ?? [])
}

// A directory that could not be made has no instances in it.
function entriesOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** Undefined when there is none, when its process has ended, or when it is just being written (then that one will see us). */
function runningClaim(path: string): Other | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch {
    return undefined
  }
  try {
    if (tryLock(fd)) return undefined
    const text = readFileSync(fd, 'utf8')
    const who: unknown = JSON.parse(text).who
    return { who: typeof who === 'string' ? who : 'unknown', footprint: parseScope(text) }
  } catch {
    return undefined
  } finally {
    closeSync(fd)
  }
}

function refuseConflict({ devices, networks }: OwnershipScope, { who, footprint }: Other): void {
  for (const { network } of networks) {
    const theirs = footprint.networks.find(({ network: other }) => overlaps(network, other))
    if (theirs !== undefined) {
      const path = network.includes(':') ? 'IPv6Network' : 'Network'
      throw new ConfigError(
        path,
        `must not overlap ${theirs.network} of another flanneld on this host (${who})`,
        network,
      )
    }
  }
  for (const device of devices) {
    if (footprint.devices.has(device)) {
      throw new ConfigError('Backend', `would share the device with another flanneld on this host (${who})`, device)
    }
  }
}
