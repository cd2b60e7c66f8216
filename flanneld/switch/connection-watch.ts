import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import type { EndedConnections, LeavingRoute } from '../config/ended-connections.ts'

interface ConnectionWatchNeeds {
  readonly clock: Clock
  /** Empty: no route is going to move. */
  readonly leaving: () => readonly LeavingRoute[]
  readonly count: (routes: readonly LeavingRoute[]) => Promise<EndedConnections>
}

const LOOK_MS = 10_000
/** On a host with 100,000 masqueraded connections a look takes a second: it rests for so many times as long. */
const REST_TO_LOOK = 99

/** Counts, while a change of the backend is under way or waits, what it is going to end. The kernel is asked at no other time. */
export class ConnectionWatch {
  readonly #needs: ConnectionWatchNeeds
  #status: EndedConnections | undefined

  constructor(needs: ConnectionWatchNeeds) {
    this.#needs = needs
  }

  /** As of the last look; undefined: no route is going to move. */
  get status(): EndedConnections | undefined {
    return this.#needs.leaving().length === 0 ? undefined : this.#status
  }

  /** `conditions`: changes of them; each of the two is one. Until the signal is aborted. */
  async run(conditions: Source<unknown>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#needs
    for await (const _ of conditions.watch(signal)) {
      this.#status = undefined
      while (!signal.aborted) {
        const began = clock.now()
        if (!(await this.#look())) break
        const restMs = Math.max(LOOK_MS, REST_TO_LOOK * (clock.now() - began))
        await clock.sleep(restMs, signal).catch(() => {})
      }
    }
  }

  /** False: no route is going to move. */
  async #look(): Promise<boolean> {
    const routes = this.#needs.leaving()
    if (routes.length === 0) return false
    this.#status = await this.#needs.count(routes)
    return true
  }
}
