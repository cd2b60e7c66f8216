import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { systemClock } from '../lib/clock.ts'

/** What a stream of echo requests tells about a path. */
export interface Verdict {
  readonly sent: number
  readonly received: number
  readonly lost: number
  /** Milliseconds of the longest run of lost requests: their number times the interval. 0 when none was lost. */
  readonly longestGapMs: number
  /** Milliseconds; undefined before the first answer. */
  readonly maxRttMs: number | undefined
}

/** Requests younger than this when the judge stops are in flight, not lost. */
const flightMs = 200

/**
 * `ping` in the background. Counts by sequence number, so that an answer which is late because this machine is busy is
 * not taken for a loss, and a duplicate not for an answer.
 */
export class PingJudge {
  readonly address: string
  readonly intervalMs: number
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  readonly #answered = new Set<number>()
  #newest = 0
  #maxRttMs: number | undefined
  #transmitted: number | undefined
  #trouble = ''

  constructor(
    needs: { argv: readonly string[]; env: Readonly<Record<string, string>>; signal: AbortSignal },
    options: { address: string; intervalMs: number },
  ) {
    this.address = options.address
    this.intervalMs = options.intervalMs
    const [program = '', ...rest] = needs.argv
    const interval = String(options.intervalMs / 1000)
    this.#child = spawn(program, [...rest, 'ping', '-n', '-i', interval, options.address], {
      env: needs.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      signal: needs.signal,
    })
    // 'error' comes first when the lab closes: the abort is what was asked for.
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

  /** Resolves at the first answer; rejects when the signal is aborted or ping has given up. */
  async answered(signal: AbortSignal): Promise<void> {
    while (this.#answered.size === 0) {
      if (this.#child.exitCode !== null) throw new Error(`ping ${this.address} ended: ${this.#trouble.trim()}`)
      await systemClock.sleep(5, signal)
    }
  }

  /** The state of things now; requests in flight do not count. */
  verdict(): Verdict {
    const known = this.#transmitted ?? this.#newest
    const flight = Math.ceil(flightMs / this.intervalMs)
    const judged = Math.max(this.#newest, known - flight)
    let gap = 0
    let longest = 0
    for (let sequence = 1; sequence <= judged; sequence += 1) {
      gap = this.#answered.has(sequence) ? 0 : gap + 1
      longest = Math.max(longest, gap)
    }
    const received = this.#answered.size
    return {
      sent: judged,
      received,
      lost: judged - received,
      longestGapMs: longest * this.intervalMs,
      maxRttMs: this.#maxRttMs,
    }
  }

  /** Ends the stream. Throws when ping could not work at all (no route to begin with). */
  async stop(): Promise<Verdict> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGINT')
      const over = new AbortController()
      const insist = systemClock.sleep(2_000, over.signal).then(
        () => this.#child.kill('SIGKILL'),
        () => false,
      )
      await this.#closed
      over.abort()
      await insist
    } else {
      await this.#closed
    }
    if (this.#transmitted === undefined) throw new Error(`ping ${this.address} ended early: ${this.#trouble.trim()}`)
    return this.verdict()
  }

  #read(line: string): void {
    const answer = /icmp_seq=(\d+) .*time=([\d.]+) ms/.exec(line)
    if (answer !== null) {
      const sequence = unwrap(Number(answer[1]), this.#newest)
      this.#answered.add(sequence)
      this.#newest = Math.max(this.#newest, sequence)
      this.#maxRttMs = Math.max(this.#maxRttMs ?? 0, Number(answer[2]))
      return
    }
    const totals = /^(\d+) packets transmitted/.exec(line)
    if (totals !== null) this.#transmitted = Number(totals[1])
  }
}

// The sequence number has 16 bits: at 100 a second it starts again after eleven minutes.
function unwrap(sequence: number, near: number): number {
  const rounds = Math.round((near - sequence) / 65_536)
  return sequence + Math.max(0, rounds) * 65_536
}
