import type { GuardKernel } from '../../kernel/rules/guard-kernel.ts'
import { OpFailure } from '../../kernel/table.ts'
import { FAMILIES } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import type { ConditionSet, GuardStatus } from '../status/status.ts'
import { type GuardOptions, guardTable, offenderSet, REFUSALS } from './guard-rules.ts'

/** Packets themselves tell nobody. */
const LOOK_MS = 5_000
/** So many offenders are named in the log within a minute. */
const MOST_NAMED = 10
const MINUTE_MS = 60_000
/** So many are remembered as named: a stranger may have any address. */
const MOST_REMEMBERED = 1_000
/** The last ones that the status shows. */
const MOST_SHOWN = 50

type Offender = GuardStatus['offenders'][number]

/** Reads what the guard has counted, and names who was refused for the first time. */
export class GuardWatch {
  readonly #guard: Pick<GuardKernel, 'counters' | 'seen'>
  readonly #clock: Clock
  readonly #log: Logger
  readonly #conditions: ConditionSet
  readonly #options: GuardOptions
  readonly #named = new Set<string>()
  #status: GuardStatus
  #minuteEnds = 0
  #namedInMinute = 0
  #unnamed = 0

  constructor(
    needs: { guard: Pick<GuardKernel, 'counters' | 'seen'>; clock: Clock; log: Logger; conditions: ConditionSet },
    options: GuardOptions,
  ) {
    this.#guard = needs.guard
    this.#clock = needs.clock
    this.#log = needs.log
    this.#conditions = needs.conditions
    this.#options = options
    this.#status = { mode: options.mode, refused: {}, offenders: [] }
  }

  /** As of the last look. */
  get status(): GuardStatus {
    return this.#status
  }

  /** Until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look()
      await this.#clock.sleep(LOOK_MS, signal).catch(() => {})
    }
  }

  async look(): Promise<void> {
    try {
      await this.#look()
    } catch (cause) {
      // That the guard is not in place the reconciler says.
      if (!(cause instanceof OpFailure)) throw cause
    }
  }

  async #look(): Promise<void> {
    const table = guardTable(this.#options.instance)
    const counters = await this.#guard.counters(table)
    const refused = Object.fromEntries(REFUSALS.map((refusal) => [refusal, counters.get(refusal) ?? 0]))
    const hasChanged = REFUSALS.some((refusal) => refused[refusal] !== (this.#status.refused[refusal] ?? 0))
    const offenders = hasChanged ? await this.#offenders(table) : this.#status.offenders
    this.#status = { mode: this.#options.mode, refused, offenders }
    if (!hasChanged) return
    // Since the last start of the daemon, too: the kernel has kept them.
    for (const offender of [...offenders].reverse()) this.#name(offender)
    this.#conditions.replace('ingress guard', [CONDITIONS[this.#options.mode]])
  }

  /** The last one first. */
  async #offenders(table: string): Promise<readonly Offender[]> {
    const found: (Offender & { readonly ageMs: number })[] = []
    const now = this.#clock.wall()
    for (const refusal of REFUSALS) {
      for (const family of FAMILIES) {
        for (const seen of await this.#guard.seen({ table, set: offenderSet(refusal, family), keys: 'device' })) {
          const { source, device = '', packets, ageMs } = seen
          const lastSeen = new Date(now - ageMs).toISOString()
          found.push({ rule: refusal, source, device, packets, lastSeen, ageMs })
        }
      }
    }
    const sorted = found.sort((a, b) => a.ageMs - b.ageMs).slice(0, MOST_SHOWN)
    return sorted.map(({ rule, source, device, packets, lastSeen }) => ({ rule, source, device, packets, lastSeen }))
  }

  #name({ rule, source, device, packets }: Offender): void {
    const key = `${rule} ${device} ${source}`
    if (this.#named.has(key)) return
    const now = this.#clock.now()
    if (now >= this.#minuteEnds) {
      if (this.#unnamed > 0) this.#log.warn('more senders were refused than are named', { senders: this.#unnamed })
      this.#minuteEnds = now + MINUTE_MS
      this.#namedInMinute = 0
      this.#unnamed = 0
    }
    if (this.#named.size >= MOST_REMEMBERED) this.#named.clear()
    this.#named.add(key)
    if (this.#namedInMinute >= MOST_NAMED) {
      this.#unnamed += 1
      return
    }
    this.#namedInMinute += 1
    const dropped = this.#options.mode === 'on'
    this.#log.warn('the ingress guard refused a sender', { rule, source, device, packets, dropped })
  }
}

const ABOUT = '`flanneld status` names them; a sender that shall be let in is named by --guard-allow'
const CONDITIONS: Readonly<Record<GuardOptions['mode'], Parameters<ConditionSet['set']>[0]>> = {
  on: {
    code: 'ingress-refused',
    severity: 'info',
    text: 'the ingress guard has dropped packets that no peer may send',
    remedy: ABOUT,
  },
  count: {
    code: 'ingress-refused',
    severity: 'info',
    text: 'the ingress guard has counted packets that no peer may send, and let them in: --ingress-guard=on would drop them',
    remedy: ABOUT,
  },
}
