import type { Family } from '../../../lib/address.ts'

/** RTPROT number of our routes: above those in use by routing daemons (/etc/iproute2/rt_protos). */
export const ROUTE_PROTOCOL = 102
/** RTPROT_BOOT: what `ip route add` and flannel write. */
export const BOOT_PROTOCOL = 3

/** Kernel priority of an ordinary route, flannel's and ours: IPv6 reads 0 back as 1024. */
export function defaultMetric(family: Family): number {
  return family === 4 ? 0 : 1024
}
