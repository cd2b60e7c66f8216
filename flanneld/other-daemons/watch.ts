import { basename, dirname } from 'node:path'
import { watchFolder } from '../../kernel/kinds/file/watch.ts'
import type { Route } from '../../kernel/objects.ts'
import type { Clock } from '../../lib/clock.ts'
import { readDaemons } from '../check/read/daemons.ts'
import { type Holder, lastRefused, refusedFileOf } from '../state/instance-lock.ts'
import type { ConditionSet } from '../status/status.ts'
import { countLinkSockets } from './link-sockets.ts'
import { otherDaemonConditions } from './signs.ts'

/** All processes are gone through, which takes a few milliseconds. */
const LOOK_MS = 25_000
/** While one is named, so that it is named no longer than it is there. */
const LOOK_AGAIN_MS = 5_000
/** What another daemon has done counts for so long unless its end is seen: it does nothing as long as no peer comes or changes. */
const LASTING_MS = 3_600_000
/** Kubelet starts a container that ends again and again every five minutes. */
const REFUSED_MS = 360_000

interface Kept {
  readonly processes: number
  readonly sockets: number
}

interface Needs {
  readonly conditions: ConditionSet
  readonly clock: Clock
}

interface Options {
  readonly subnetFile: string
  readonly me: Holder
  /** `/proc` where nothing is said. */
  readonly proc?: string
}

/**
 * Names, as conditions, other flannel daemons of this host: flannel's by its process where it can be seen (from within a container
 * it cannot), and by what it does; a second one of this program by the note that it leaves when it is refused.
 */
export class OtherDaemons {
  readonly #needs: Needs
  readonly #options: Options
  readonly #flannelsDraft: RegExp
  #wroteAt: number | undefined
  #made: { readonly at: number; readonly route: string } | undefined
  /** What flannel's daemon keeps as long as it runs, as it was at the last look of those since it has done something. */
  #kept: Kept = { processes: 0, sockets: 0 }

  constructor(needs: Needs, options: Options) {
    this.#needs = needs
    this.#options = options
    const name = basename(options.subnetFile).replace(/[^\w]/g, '\\$&')
    // Before it takes the place of the file; a number follows since v0.28. Ours, the lock and the editors' have other ends.
    this.#flannelsDraft = new RegExp(`^\\.${name}\\d*$`)
  }

  /** Somebody has made it beside this daemon; flannel's looks so. */
  onFlannelsRoute({ dst, via, device }: Route): void {
    const isNew = this.#made === undefined
    const route = this.#made?.route ?? `${dst} via ${via} dev ${device}`
    this.#made = { at: this.#needs.clock.now(), route }
    if (isNew) this.#look()
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#needs
    const { subnetFile } = this.#options
    const note = basename(refusedFileOf(subnetFile))
    const onName = (name: string | null) => {
      if (name !== null && this.#flannelsDraft.test(name)) this.#wroteAt = clock.now()
      else if (name !== note) return
      this.#look()
    }
    const watching = watchFolder({ clock, onName }, dirname(subnetFile), signal)
    while (!signal.aborted) {
      this.#look()
      await clock.sleep(this.#counts ? LOOK_AGAIN_MS : LOOK_MS, signal).catch(() => {})
    }
    await watching
  }

  #look(): void {
    const { conditions, clock } = this.#needs
    const { subnetFile, proc } = this.#options
    const running = readDaemons(subnetFile, proc).flannels
    const ended = this.#hasEnded({ processes: running.length, sockets: countLinkSockets(proc) })
    const oldest = clock.now() - LASTING_MS
    if (ended || (this.#wroteAt ?? oldest) <= oldest) this.#wroteAt = undefined
    if (ended || (this.#made?.at ?? oldest) <= oldest) this.#made = undefined
    const found = otherDaemonConditions({
      subnetFile,
      running,
      wroteSubnetFile: this.#wroteAt !== undefined,
      madeRoute: this.#made?.route,
      refused: this.#refused(),
    })
    conditions.replace('other daemons', found)
  }

  get #counts(): boolean {
    return this.#wroteAt !== undefined || this.#made !== undefined
  }

  /** Where its process can be seen that tells; in a container its socket does, unless there are others of the kind. */
  #hasEnded(now: Kept): boolean {
    const { processes, sockets } = this.#kept
    const ended = processes > 0 ? now.processes === 0 : sockets > 0 && now.sockets === 0
    this.#kept = this.#counts && !ended ? now : { processes: 0, sockets: 0 }
    return ended
  }

  /** Not this very pod, which was refused while the one that it replaces had not ended. */
  #refused(): Holder | undefined {
    const { subnetFile, me } = this.#options
    const refused = lastRefused(subnetFile)
    if (refused === undefined || refused.at < this.#needs.clock.wall() - REFUSED_MS) return undefined
    return refused.pod !== undefined && refused.pod === me.pod ? undefined : refused
  }
}
