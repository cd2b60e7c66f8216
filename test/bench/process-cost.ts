import { readFileSync } from 'node:fs'

/** USER_HZ: what /proc counts processor time in, on every Linux. */
const TICK_MS = 10

/** User and system time of a process with all its threads and of the programs that it ran to their end (iptables), in ms. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name, in parentheses, may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [user, system, childUser, childSystem] = fields.slice(11, 15).map(Number)
  return ((user ?? 0) + (system ?? 0) + (childUser ?? 0) + (childSystem ?? 0)) * TICK_MS
}

/** Resident memory now, in units of 2^20 bytes. */
export function residentMb(pid: number): number {
  return memoryMb(pid, 'VmRSS')
}

/** The most that it ever was. */
export function peakMb(pid: number): number {
  return memoryMb(pid, 'VmHWM')
}

function memoryMb(pid: number, field: string): number {
  const found = new RegExp(`^${field}:\\s*(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (found === null) throw new Error(`process ${pid} has no memory`)
  return Number(found[1]) / 1024
}
