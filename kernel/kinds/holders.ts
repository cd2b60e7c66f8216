import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** What reads /proc; another in tests. */
export interface ProcFiles {
  readonly read: (path: string) => string
  readonly list: (path: string) => readonly string[]
  readonly link: (path: string) => string
}

// Read at once: the network namespace that counts is the calling thread's. Asked only after a refusal.
const PROC: ProcFiles = {
  read: (path) => readFileSync(path, 'latin1'),
  list: (path) => readdirSync(path),
  link: (path) => readlinkSync(path),
}

/** Where it cannot be seen: in another pid namespace, say, or the kernel itself. */
export const UNSEEN = 'another program'

/** Who has a UDP port of this network namespace, as `dnsmasq (pid 812)`, or `another program`. */
export function udpPortHolder(port: number, files: ProcFiles = PROC): string {
  return portHolder('udp', port, files) ?? UNSEEN
}

/** The same of either protocol, with TCP who listens; undefined: nobody. */
export function portHolder(protocol: 'udp' | 'tcp', port: number, files: ProcFiles = PROC): string | undefined {
  const tables = [protocol, `${protocol}6`].map((table) => `/proc/thread-self/net/${table}`)
  const sockets = new Set(tables.flatMap((table) => inodesOf(table, port, files)))
  if (sockets.size === 0) return undefined
  sockets.delete('0')
  if (sockets.size === 0) return UNSEEN
  const holds = (pid: string, fd: string) => {
    const inode = /^socket:\[(\d+)\]$/.exec(attempt(() => files.link(`/proc/${pid}/fd/${fd}`), ''))?.[1]
    return inode !== undefined && sockets.has(inode)
  }
  return processThat(holds, files)
}

/** Who reads and writes the packets of a tun device. Source: drivers/net/tun.c, tun_chr_show_fdinfo. */
export function tunHolder(device: string, files: ProcFiles = PROC): string {
  const holds = (pid: string, fd: string) =>
    attempt(() => files.link(`/proc/${pid}/fd/${fd}`), '') === '/dev/net/tun' &&
    attempt(() => files.read(`/proc/${pid}/fdinfo/${fd}`), '')
      .split('\n')
      .some((line) => line.trim().split(/\s+/).join(' ') === `iff: ${device}`)
  return processThat(holds, files)
}

function processThat(holds: (pid: string, fd: string) => boolean, files: ProcFiles): string {
  for (const pid of attempt(() => files.list('/proc'), [])) {
    if (!/^\d+$/.test(pid)) continue
    if (!attempt(() => files.list(`/proc/${pid}/fd`), []).some((fd) => holds(pid, fd))) continue
    const name = attempt(() => files.read(`/proc/${pid}/comm`), '').trim()
    return `${name === '' ? 'a program' : name} (pid ${pid})`
  }
  return UNSEEN
}

// A TCP port is a connection's, too.
function isOwning(state: string | undefined, path: string): boolean {
  return !/tcp6?$/.test(path) || state === '0A'
}

/** Source: proc_net_udp(5): number, local address and port in hexadecimal, the peer's, state, ..., inode as the tenth column. */
function inodesOf(path: string, port: number, files: ProcFiles): readonly string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  return attempt(() => files.read(path), '')
    .split('\n')
    .flatMap((line) => {
      const columns = line.trim().split(/\s+/)
      return columns[1]?.endsWith(`:${hex}`) && isOwning(columns[3], path) ? [columns[9] ?? '0'] : []
    })
}

/** Processes end while one looks at them, and some may not be looked at. */
function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work()
  } catch {
    return otherwise
  }
}
