import type { Driver } from './driver.ts'

/** A device whose packets a program reads and writes. Source: linux/if_tun.h. */
export interface TunDriver {
  readonly type: 'tun'
  /** Stays when no program holds it: packets are lost then, and do not leave by another route. Ours always does. */
  readonly persistent: boolean
}

export const tun: Driver<TunDriver> = {
  type: 'tun',
  compare: (actual, desired) => (actual.persistent === desired.persistent ? 'same' : 'update'),
  words: () => 'tun',
}
