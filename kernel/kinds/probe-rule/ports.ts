interface PortRange {
  readonly first: number
  readonly last: number
}

/** UDP ports of probes, host byte order. Several to send from, because paths with links side by side choose by the ports. */
export interface ProbePorts {
  /** At which a node answers. */
  readonly answers: number
  /** From which a way is tried: what this host itself sends from one of them goes by the table of probes. */
  readonly tried: PortRange
  /** From which nothing goes by that table. */
  readonly used: PortRange
}

export const PROBE_PORTS = [portsFrom(8473), portsFrom(8483), portsFrom(8493)] as const

/**
 * Those that no tunnel of this host has, the one to send by first. The kernel binds a tunnel's port at all addresses, so nobody else has
 * it; nodes that change from and to the same ways come to the same set. `taken`: at most one port of each of two ways, so one set is free.
 */
export function freeProbePorts(taken: readonly number[]): readonly ProbePorts[] {
  return PROBE_PORTS.filter(({ answers, used }) => !taken.some((port) => port >= answers && port <= used.last))
}

/** Whether somebody sends probes, or answers, from there. */
export function isProbePort(port: number): boolean {
  return PROBE_PORTS.some(({ answers, used }) => port >= answers && port <= used.last)
}

function portsFrom(answers: number): ProbePorts {
  const tried = { first: answers + 1, last: answers + 3 }
  return { answers, tried, used: { first: answers + 4, last: answers + 6 } }
}
