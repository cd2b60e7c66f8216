import type { DesiredObject } from '../kernel/objects.ts'

/** A strict filter drops what comes back by another way than it left, which mixed direct and tunnel paths do. */
export function looseReversePath(device: string): DesiredObject {
  const path = `net/ipv4/conf/${device}/rp_filter`
  return { kind: 'sysctl', path, value: '2', role: { class: 'advisory', remedy: `echo 2 > /proc/sys/${path}` } }
}

/**
 * While one side already sends directly and the other still through the tunnel, a strict uplink drops all that the first
 * one sends. When that ends is known to neither side, so it is loose as long as direct paths are in use.
 */
export function looseUplink(device: string): DesiredObject {
  const path = `net/ipv4/conf/${device}/rp_filter`
  const remedy = `echo 2 > /proc/sys/${path}, else packets are lost while two hosts disagree about a direct path`
  return { kind: 'sysctl', path, value: '2', borrowed: true, role: { class: 'advisory', remedy } }
}
