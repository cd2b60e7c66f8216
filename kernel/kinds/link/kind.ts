import type { IpAddr, MacAddr } from '../../../lib/address.ts'
import { type Comparison, type Kind, type OwnershipScope, phrase } from '../kind.ts'
import {
  compareDrivers,
  describeDriver,
  driverChange,
  driverWords,
  kindNameOf,
  type LinkDriver,
  underlayOf,
} from './drivers/drivers.ts'

/** A device. `mac` undefined in a desired link means: any. */
export interface Link {
  readonly kind: 'link'
  readonly name: string
  readonly mtu: number
  readonly mac?: MacAddr
  readonly up: boolean
  /** Of an IPv4 device that is made: an address that it has before it is up. Linux drops what a device without one receives, unless rp_filter is 0. */
  readonly firstAddress?: IpAddr
  readonly driver: LinkDriver
}

export const link: Kind<Link> = {
  name: 'link',
  events: true,
  removed: true,
  key: ({ name }) => `link ${name}`,
  compare: compareLinks,
  entry: ({ name }) => ({ kind: 'device', name }),
  ownership(actual, wanted, { scope }) {
    // A veth that somebody named flannel.1 is his, whatever our journal says.
    if (actual.driver.type === 'other') return 'foreign'
    if (wanted === undefined) return scope.devices.has(actual.name) ? 'ours' : 'foreign'
    // So is a device of a kind that we make, but not under this name.
    const adoptable = wanted.driver.type === actual.driver.type || isOtherUdpEngine(actual, wanted, scope)
    return adoptable ? 'adoptable' : 'foreign'
  },
  concerns({ name, driver }) {
    const underlay = underlayOf(driver)
    return underlay === undefined ? [name] : [name, underlay]
  },
  module: ({ driver }) => kindNameOf(driver),
  describe: ({ name, mtu, up, mac, driver }) =>
    phrase(`${name} mtu ${mtu}`, up ? 'up' : 'down', mac && `address ${mac}`, `type ${describeDriver(driver)}`),
  commands: {
    create: creation,
    update: change,
    remove: ({ name }) => `ip link delete ${name}`,
  },
}

function compareLinks(actual: Link, desired: Link): Comparison {
  const drivers = compareDrivers(actual.driver, desired.driver)
  if (drivers !== 'same') return drivers
  const same =
    actual.mtu === desired.mtu && actual.up === desired.up && (desired.mac === undefined || actual.mac === desired.mac)
  return same ? 'same' : 'update'
}

// The two engines of the udp backend share a name. flannel's own tun is not persistent and goes when flannel ends.
function isOtherUdpEngine({ name, driver }: Link, wanted: Link, scope: OwnershipScope): boolean {
  if (!scope.devices.has(name)) return false
  if (wanted.driver.type === 'ipip' && driver.type === 'tun') {
    return wanted.driver.encapsulation !== undefined && driver.persistent
  }
  const port = driver.type === 'ipip' ? driver.encapsulation?.port : undefined
  return wanted.driver.type === 'tun' && port !== undefined && (scope.fouPorts?.has(port) ?? false)
}

function creation({ name, mtu, mac, up, driver }: Link): readonly string[] {
  if (driver.type === 'tun') {
    return [`ip tuntap add dev ${name} mode tun`, `ip link set ${name} mtu ${mtu}${up ? ' up' : ''}`]
  }
  const address = mac === undefined ? '' : ` address ${mac}`
  const commands = [`ip link add ${name}${address} mtu ${mtu} type ${driverWords(driver)}`]
  if (up) commands.push(`ip link set ${name} up`)
  return commands
}

function change(desired: Link, actual: Link): readonly string[] {
  const { name, mtu, mac, up } = desired
  const changes: string[] = []
  if (mtu !== actual.mtu) changes.push(`mtu ${mtu}`)
  if (mac !== undefined && mac !== actual.mac) changes.push(`address ${mac}`)
  if (up !== actual.up) changes.push(up ? 'up' : 'down')
  const commands = changes.length === 0 ? [] : [`ip link set ${name} ${changes.join(' ')}`]
  const tunnel = driverChange(actual.driver, desired.driver)
  if (tunnel !== undefined) commands.push(`ip link set ${name} type ${tunnel}`)
  return commands
}
