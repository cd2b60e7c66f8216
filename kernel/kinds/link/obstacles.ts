import { existsSync } from 'node:fs'
import type { IpAddr } from '../../../lib/address.ts'
import { dumpAddresses, IFA_F_DADFAILED, parseAddress } from '../../netlink/address-messages.ts'
import type { NetlinkNeeds } from '../../netlink/device-batch.ts'
import { IFF_UP } from '../../netlink/link-messages.ts'
import type { OpError } from '../../table.ts'
import { underlayOf } from './drivers/drivers.ts'
import type { Link } from './kind.ts'

/** Smallest MTU of a device that speaks IPv4 (RFC 791), and the largest of any. */
const MTU_BOUNDS = { least: 68, most: 65_535 }

/**
 * Why a device could not carry packets if it were made now; undefined: nothing is known. Asked before the device in its
 * place is deleted: the kernel would make one whose underlay is down or whose local address is nobody's.
 */
export async function obstacleTo({ driver, mtu }: Link, needs: NetlinkNeeds): Promise<OpError | undefined> {
  if (driver.type === 'other') return refused('EOPNOTSUPP', `a device of driver ${driver.name} is not made`)
  if (mtu < MTU_BOUNDS.least || mtu > MTU_BOUNDS.most) {
    return refused('EINVAL', `MTU ${mtu} is not from ${MTU_BOUNDS.least} to ${MTU_BOUNDS.most}`)
  }
  if (driver.type === 'tun') {
    return existsSync('/dev/net/tun') ? undefined : refused('EOPNOTSUPP', '/dev/net/tun is not there')
  }
  const underlay = underlayOf(driver)
  const below = underlay === undefined ? undefined : await needs.devices.look(underlay)
  if (underlay !== undefined && below === undefined) return refused('ENODEV', `there is no device ${underlay}`)
  if (below !== undefined && (below.flags & IFF_UP) === 0) return refused('ENETDOWN', `${underlay} is down`)
  if (driver.local === undefined || (await isOwn(driver.local, needs))) return undefined
  return refused('EADDRNOTAVAIL', `${driver.local} is not an address of this host`)
}

async function isOwn(wanted: IpAddr, { channel }: NetlinkNeeds): Promise<boolean> {
  const addresses = await channel.dump(dumpAddresses(), parseAddress)
  return addresses.some(({ address, flags }) => address === wanted && (flags & IFA_F_DADFAILED) === 0)
}

function refused(code: string, message: string): OpError {
  return { code, message }
}
