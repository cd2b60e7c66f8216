import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { systemClock } from '../lib/clock.ts'

export interface StreamNeeds {
  /** What enters the namespace; `ping` comes behind it. */
  readonly enter: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

export interface StreamCount {
  readonly sent: number
  readonly received: number
  /** Milliseconds from the last answered request before a loss to the first one after it, or to the end. */
  readonly longestGapMs: number
  readonly maxRttMs: number | undefined
}

/** Requests younger than this at the end are in flight, not lost. */
const flightMs = 200

/** One running `ping`. Counts by sequence number: an answer that is late because the machine is busy is no loss. */
export class PingStream {
  readonly #intervalMs: number
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  /** Sequence number -> when its request was sent, wall clock milliseconds. */
  readonly #sentAt = new Map<number, number>()
  #newest = 0
  /** Requests before this one do not count. */
  #first = 1
  #maxRttMs: number | undefined
  #transmitted: number | undefined
  #trouble = ''
  // Wall clock, as ping's own stamps are.
  readonly #startedAt = systemClock.wall()
  #endedAt = 0

  constructor(needs: StreamNeeds, options: { address: string; intervalMs: number }) {
    this.#intervalMs = options.intervalMs
    const [program = '', ...rest] = [...needs.enter, 'ping', '-n', '-D', '-i', String(options.intervalMs / 1000)]
    this.#child = spawn(program, [...rest, options.address], {
      env: needs.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      signal: needs.signal,
    })
    this.#closed = new Promise((resolve) => this.#child.on('close', resolve))
    this.#child.on('error', (cause) => {
      this.#trouble += cause.message
    })
    const { stdout, stderr } = this.#child
    if (stdout !== null) createInterface({ input: stdout }).on('line', (line) => this.#read(line))
    stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (this.#trouble.length < 2_000) this.#trouble += text
    })
  }

  get answers(): number {
    return this.#sentAt.size
  }

  /** What was sent before the first answered request no longer counts: there was no path yet that could have lost it. */
  countFromFirstAnswer(): void {
    this.#first = Math.min(...this.#sentAt.keys())
  }

  /** What ping wrote on stderr. */
  get trouble(): string {
    return this.#trouble.trim()
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** The count so far; without requests in flight. */
  count(): StreamCount {
    const last = Math.max(this.#newest, (this.#transmitted ?? 0) - Math.ceil(flightMs / this.#intervalMs))
    let [received, longestGapMs] = [0, 0]
    let before: number | undefined
    for (let sequence = this.#first; sequence <= last; sequence += 1) {
      const at = this.#sentAt.get(sequence)
      if (at === undefined) continue
      received += 1
      const lostBetween = before === undefined ? sequence > this.#first : !this.#sentAt.has(sequence - 1)
      if (lostBetween) longestGapMs = Math.max(longestGapMs, at - (before ?? this.#startedAt))
      before = at
    }
    const trailing = last > this.#newest ? this.#endedAt - (before ?? this.#startedAt) : 0
    return {
      sent: last - this.#first + 1,
      received,
      longestGapMs: Math.round(Math.max(longestGapMs, trailing)),
      maxRttMs: this.#maxRttMs,
    }
  }

  /** Ends it. Throws when ping could not work at all, for want of a route say. */
  async stop(): Promise<StreamCount> {
    if (!this.ended) {
      this.#child.kill('SIGINT')
      const over = new AbortController()
      const insist = systemClock.sleep(10_000, over.signal).then(
        () => this.#child.kill('SIGKILL'),
        () => false,
      )
      await this.#closed
      over.abort()
      await insist
    } else {
      await this.#closed
    }
    if (this.#transmitted === undefined) throw new Error(`ping ended early: ${this.trouble}`)
    return this.count()
  }

  #read(line: string): void {
    const answer = /^\[([\d.]+)\] .*icmp_seq=(\d+) .*time=([\d.]+) ms/.exec(line)
    if (answer !== null) {
      const [at, sequence, rtt] = [Number(answer[1]) * 1000, unwrap(Number(answer[2]), this.#newest), Number(answer[3])]
      this.#sentAt.set(sequence, at - rtt)
      this.#newest = Math.max(this.#newest, sequence)
      this.#maxRttMs = Math.max(this.#maxRttMs ?? 0, rtt)
      return
    }
    const totals = /^(\d+) packets transmitted/.exec(line)
    if (totals === null) return
    this.#transmitted = Number(totals[1])
    this.#endedAt = systemClock.wall()
  }
}

// The sequence number has 16 bits: at 100 a second it starts again after eleven minutes.
function unwrap(sequence: number, near: number): number {
  const rounds = Math.round((near - sequence) / 65_536)
  return sequence + Math.max(0, rounds) * 65_536
}
