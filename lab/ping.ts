import type { Outcome, RunOptions } from './command.ts'
import { CommandError } from './command.ts'

export interface PingOptions {
  /** Echo requests; 3 unless told. */
  readonly count?: number
  /** Milliseconds between them; 100 unless told. */
  readonly interval?: number
  /** Bytes of payload; the packet is 28 (IPv4) or 48 (IPv6) larger. 56 unless told. */
  readonly size?: number
  /** Forbid fragmentation, to learn what size the path carries. */
  readonly df?: boolean
  /** Milliseconds to wait for the last answer; 1,000 unless told. */
  readonly wait?: number
  readonly signal?: AbortSignal
}

export interface Ping {
  readonly sent: number
  readonly received: number
  /** Milliseconds; undefined when nothing came back. */
  readonly rttMs?: { readonly min: number; readonly avg: number; readonly max: number }
  /** What ping says besides answers, "Frag needed" for one; empty when all is well. */
  readonly trouble: string
}

type Exec = (argv: readonly string[], options: RunOptions) => Promise<Outcome>

/** An unreachable address is an answer, `received: 0`, not an error. Throws CommandError for what ping does not understand. */
export async function ping(exec: Exec, address: string, options: PingOptions = {}): Promise<Ping> {
  const { count = 3, interval = 100, size = 56, wait = 1_000 } = options
  const argv = ['ping', '-n', '-q', '-c', String(count), '-i', String(interval / 1000), '-s', String(size)]
  argv.push('-W', String(wait / 1000), ...(options.df ? ['-M', 'do'] : []), address)
  const outcome = await exec(argv, {
    anyCode: true,
    timeout: count * interval + wait + 15_000,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  const trouble = outcome.stderr.trim()
  const totals = /(\d+) packets transmitted, (\d+) received/.exec(outcome.stdout)
  if (totals === null) {
    // No route at all: ping gives up before it sends.
    if (/unreachable|Cannot assign|Invalid argument/.test(trouble)) return { sent: count, received: 0, trouble }
    throw new CommandError(argv, outcome, `exit code ${outcome.code}`)
  }
  const rtt = /= ([\d.]+)\/([\d.]+)\/([\d.]+)/.exec(outcome.stdout)
  return {
    sent: Number(totals[1]),
    received: Number(totals[2]),
    ...(rtt === null ? {} : { rttMs: { min: Number(rtt[1]), avg: Number(rtt[2]), max: Number(rtt[3]) } }),
    trouble,
  }
}
