import { isDeepStrictEqual } from 'node:util'
import type { ObstacleReader } from '../../kernel/obstacles/obstacle-reader.ts'
import { nameOfPath, type Obstacle, obstacleText, type PacketPath } from '../../kernel/obstacles/packet-path.ts'
import type { RuleMonitor } from '../../kernel/rules/rule-monitor.ts'
import { OpFailure } from '../../kernel/table.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import { runTogether } from '../../lib/lifecycle.ts'
import { remedyOfRefusal } from '../status/fault-conditions.ts'
import type { Condition, ConditionSet } from '../status/status.ts'

/** IPv6 forwarding is switched off without an event. Shorter than the reconciler's sweep, whose pass is then the occasion to look. */
const LOOK_MS = 25_000
const GROUP = 'rules of others'

interface ObstacleWatchNeeds {
  readonly reader: Pick<ObstacleReader, 'read'>
  readonly monitor: Pick<RuleMonitor, 'watch'>
  readonly conditions: ConditionSet
  readonly clock: Clock
  /** What is asked now; the same list as long as nothing else is asked. */
  readonly paths: () => readonly PacketPath[]
  /** To be told after each look. */
  readonly onLook?: () => void
}

interface Look {
  readonly paths: readonly PacketPath[]
  /** The number of changes of rules before it. */
  readonly changes: number
  readonly at: number
}

/** Names, as conditions, the rules of other programs that drop our packets. They are left alone. */
export class ObstacleWatch {
  readonly #needs: ObstacleWatchNeeds
  #changes = 0
  #last: Look = { paths: [], changes: 0, at: 0 }
  /** Of what comes in by another device; of what could not be read nothing is known against it. */
  #arrivals: { readonly paths: readonly PacketPath[]; readonly found: readonly string[] } = { paths: [], found: [] }

  constructor(needs: ObstacleWatchNeeds) {
    this.#needs = needs
  }

  /**
   * `passes`: has a new value after each pass of the reconciler that came to its end. Then our own rules are in place, which open the way
   * that a policy closes. Ends when the signal is aborted.
   */
  async run(passes: Source<unknown>, signal: AbortSignal): Promise<void> {
    const onChange = () => {
      this.#changes += 1
    }
    await runTogether(
      [
        (stop) => this.#needs.monitor.watch('iptables-chain', onChange, stop),
        async (stop) => {
          for await (const _ of passes.watch(stop)) if (this.#isDue()) await this.#look()
        },
      ],
      signal,
    )
  }

  /** Why packets of peers may not come in by a device that they shall come in by; empty: that is looked up. Undefined: they may. */
  get closedArrival(): string | undefined {
    const asked = this.#needs.paths().filter(({ arrival }) => arrival !== undefined)
    if (asked.length === 0) return undefined
    const { paths, found } = this.#arrivals
    return isDeepStrictEqual(asked, paths) ? found[0] : ''
  }

  #isDue(): boolean {
    const { paths, changes, at } = this.#last
    const asked = this.#needs.paths()
    const isSame = asked === paths || isDeepStrictEqual(asked, paths)
    if (asked.length === 0) return !isSame
    // What a change waits for, as a device that is not there yet.
    if (this.closedArrival !== undefined) return true
    return !isSame || changes !== this.#changes || this.#needs.clock.now() >= at + LOOK_MS
  }

  async #look(): Promise<void> {
    const { reader, conditions, clock } = this.#needs
    // As of before reading: what changes meanwhile makes the next pass an occasion to look again.
    const look = { paths: this.#needs.paths(), changes: this.#changes, at: clock.now() }
    try {
      const found = await reader.read(look.paths)
      conditions.replace(GROUP, obstacleConditions(look.paths, found))
      conditions.clear(UNREADABLE)
      this.#last = look
      this.#keepArrivals(look.paths, found)
    } catch (cause) {
      if (!(cause instanceof OpFailure)) throw cause
      conditions.set(unreadable(cause))
      this.#keepArrivals(look.paths, [])
    }
    this.#needs.onLook?.()
  }

  #keepArrivals(paths: readonly PacketPath[], found: readonly (readonly Obstacle[])[]): void {
    const isArrival = ({ arrival }: PacketPath) => arrival !== undefined
    const texts = paths.flatMap((path, index) => (isArrival(path) ? (found[index] ?? []).map(obstacleText) : []))
    this.#arrivals = { paths: paths.filter(isArrival), found: texts }
  }
}

function obstacleConditions(
  paths: readonly PacketPath[],
  found: readonly (readonly Obstacle[])[],
): readonly Condition[] {
  return paths.flatMap((path, index): readonly Condition[] => {
    const obstacles = found[index] ?? []
    if (obstacles.length === 0) return []
    const name = nameOfPath(path)
    const text = `${name}: ${obstacles.map(obstacleText).join('; ')} (EACCES)`
    const what = path.outer === undefined ? 'the overlay through' : 'the tunnel of peers in'
    const remedy = `rules of others are left alone: their owner must let ${what}`
    return [{ code: `advisory ${name}`, severity: 'info', text, remedy }]
  })
}

const UNREADABLE = 'unreadable clear-path'

function unreadable({ message, code }: OpFailure): Condition {
  const text = `kind clear-path could not be read: ${message} (${code}); what was known of it counts`
  return { code: UNREADABLE, severity: 'warning', text, remedy: remedyOfRefusal(code) }
}
