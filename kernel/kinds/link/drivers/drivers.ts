import type { Comparison } from '../../kind.ts'
import type { Driver } from './driver.ts'
import { ipip } from './ipip.ts'
import { tun } from './tun.ts'
import { vxlan } from './vxlan.ts'

/** What this program makes. */
const MADE = [vxlan, ipip, tun] as const

type DriverOf<D> = D extends Driver<infer T> ? T : never

export type MadeDriver = DriverOf<(typeof MADE)[number]>
/** How a device was made; `other` stands for every kind that this program never makes. */
export type LinkDriver = MadeDriver | OtherDriver

interface OtherDriver {
  readonly type: 'other'
  readonly name: string
}

const other: Driver<OtherDriver> = { type: 'other', compare: () => 'same', words: ({ name }) => name }

const BY_TYPE = Object.fromEntries([...MADE, other].map((driver) => [driver.type, driver])) as unknown as Readonly<
  Record<LinkDriver['type'], Driver<LinkDriver>>
>

/** What it takes to make a device of the driver `actual` into one of `desired`. */
export function compareDrivers(actual: LinkDriver, desired: LinkDriver): Comparison {
  return actual.type === desired.type ? BY_TYPE[desired.type].compare(actual, desired) : 'recreate'
}

/** The words behind `ip link add NAME type`. */
export function driverWords(driver: LinkDriver): string {
  return BY_TYPE[driver.type].words(driver)
}

/** What of it tells one device from another, for logs. */
export function describeDriver(driver: LinkDriver): string {
  return BY_TYPE[driver.type].describe?.(driver) ?? driverWords(driver)
}

/** The words behind `ip link set NAME type` that make the one into the other; undefined: they are the same, or there are none. */
export function driverChange(actual: LinkDriver, desired: LinkDriver): string | undefined {
  return compareDrivers(actual, desired) === 'update' ? BY_TYPE[desired.type].change?.(actual, desired) : undefined
}

/** Name of the device below; undefined: none. */
export function underlayOf(driver: LinkDriver): string | undefined {
  return 'underlay' in driver ? driver.underlay : undefined
}

/** Name of the kernel's kind, which is also that of its module. */
export function kindNameOf(driver: LinkDriver): string {
  return driver.type === 'other' ? driver.name : driver.type
}
