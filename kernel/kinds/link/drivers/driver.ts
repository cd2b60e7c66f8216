import type { Comparison } from '../../kind.ts'

/** All that is known of a way to make devices, but for what the kernel is told (`kernel/netlink/drivers/`). Pure. */
export interface Driver<D extends { readonly type: string }> {
  /** Name of the kernel's kind, which is also that of its module. */
  readonly type: D['type']
  /** What it takes to make a device of the driver `actual` into one of `desired`. */
  compare(actual: D, desired: D): Comparison
  /** The words behind `ip link add NAME type`. */
  words(driver: D): string
  /** What of it tells one device from another, for logs; absent: `words`. */
  describe?(driver: D): string
  /** The words behind `ip link set NAME type` that make the one into the other; absent: there are none. */
  change?(actual: D, desired: D): string
}
