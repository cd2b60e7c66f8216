import type { Family } from '../lib/address.ts'

/** What every kernel asks of a device, for the configuration that names or sizes one. */

/** Characters. Source: IFNAMSIZ of linux/if.h, less the terminating zero. */
export const LONGEST_DEVICE_NAME = 15

/** Bytes: what a device needs to carry a family at all. Source: RFC 791 (IPV4_MIN_MTU), RFC 8200 (IPV6_MIN_MTU). */
export const SMALLEST_MTU: Readonly<Record<Family, number>> = { 4: 68, 6: 1280 }

export function deviceNameFits(name: string): boolean {
  return name.length <= LONGEST_DEVICE_NAME
}
