import { assertNever } from '../../../lib/errors.ts'
import { compareDrivers, type IpipDriver, type LinkDriver, type VxlanDriver } from './drivers.ts'

/** The words behind `ip link add NAME type`. */
export function driverText(driver: LinkDriver): string {
  switch (driver.type) {
    case 'vxlan':
      return words(
        `vxlan id ${driver.vni}`,
        driver.local && `local ${driver.local}`,
        driver.underlay && `dev ${driver.underlay}`,
        `dstport ${driver.port}`,
        learningText(driver),
        'ttl auto',
        driver.gbp && 'gbp',
      )
    case 'ipip':
      return ipipText(driver)
    case 'tun':
      return 'tun'
    case 'other':
      return driver.name
    default:
      return assertNever(driver)
  }
}

/** The words behind `ip link set NAME type` that make the one into the other; undefined: they are the same, or no device of ours. */
export function driverChangeText(actual: LinkDriver, desired: LinkDriver): string | undefined {
  if (compareDrivers(actual, desired) !== 'update') return undefined
  switch (desired.type) {
    case 'vxlan': {
      const before = actual as VxlanDriver
      return words(
        `vxlan id ${desired.vni}`,
        desired.underlay !== before.underlay && desired.underlay && `dev ${desired.underlay}`,
        desired.local !== before.local && desired.local && `local ${desired.local}`,
        desired.learning !== before.learning && learningText(desired),
      )
    }
    case 'ipip':
      return ipipText(desired)
    case 'tun':
    case 'other':
      return undefined
    default:
      return assertNever(desired)
  }
}

/** What of a driver tells one device from another, for logs. */
export function driverDescription(driver: LinkDriver): string {
  if (driver.type !== 'vxlan') return driverText(driver)
  return words(
    `vxlan id ${driver.vni} dstport ${driver.port}`,
    driver.underlay && `dev ${driver.underlay}`,
    driver.local && `local ${driver.local}`,
    learningText(driver),
    driver.gbp && 'gbp',
  )
}

function ipipText(driver: IpipDriver): string {
  const { encapsulation: fou } = driver
  return words(
    'ipip',
    driver.remote && `remote ${driver.remote}`,
    driver.local && `local ${driver.local}`,
    driver.underlay && `dev ${driver.underlay}`,
    `ttl ${driver.ttl === 0 ? 'inherit' : driver.ttl}`,
    driver.pathMtuDiscovery ? 'pmtudisc' : 'nopmtudisc',
    fou && `encap fou encap-sport ${fou.sourcePort} encap-dport ${fou.port}`,
  )
}

function learningText(driver: VxlanDriver): string {
  return driver.learning ? 'learning' : 'nolearning'
}

function words(...parts: readonly (string | false | undefined)[]): string {
  return parts.filter((part) => part).join(' ')
}
