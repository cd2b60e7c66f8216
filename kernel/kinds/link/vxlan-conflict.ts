import { familyOf } from '../../../lib/address.ts'
import type { OpError } from '../../table.ts'
import { udpPortHolder } from '../holders.ts'
import { describe } from '../words.ts'
import type { VxlanDriver } from './drivers/vxlan.ts'
import type { Link } from './kind.ts'

/** A vxlan device that was refused because of something else: the same error, with what is in the way. */
export function withConflict(link: Link, error: OpError, others: readonly Link[], holderOf = udpPortHolder): OpError {
  const { driver } = link
  if (driver.type !== 'vxlan') return error
  if (error.code === 'EEXIST') {
    const other = others.find(({ name }) => name === link.name) ?? sameVni(link, driver, others)
    // The kernel knows devices that were moved to another network namespace since.
    const what = other === undefined ? 'a device that is in another network namespace by now' : describe(other)
    return { ...error, message: `${error.message}: ${what}` }
  }
  if (error.code !== 'EADDRINUSE') return error
  // Devices share a port only where they agree on what they receive.
  const other = vxlans(link, others).find(({ driver: { port } }) => port === driver.port)
  const holder = other === undefined ? holderOf(driver.port) : `the device ${describe(other)}`
  return { ...error, message: `UDP port ${driver.port} is in use by ${holder}` }
}

/** Source: vxlan_vni_in_use in drivers/net/vxlan/vxlan_core.c: VNI, port, IP version and extensions decide. */
function sameVni({ name }: Link, wanted: VxlanDriver, others: readonly Link[]): Link | undefined {
  const { vni, port, gbp } = wanted
  const same = vxlans({ name }, others).filter(({ driver }) => driver.vni === vni && driver.port === port)
  const agreeing = same.filter(({ driver }) => driver.gbp === gbp && isIpv6(driver) === isIpv6(wanted))
  return agreeing[0] ?? same[0]
}

function isIpv6({ local, group }: VxlanDriver): boolean {
  return [local, group].some((address) => address !== undefined && familyOf(address) === 6)
}

type VxlanLink = Link & { readonly driver: VxlanDriver }

function vxlans(own: { readonly name: string }, links: readonly Link[]): readonly VxlanLink[] {
  return links.filter((link): link is VxlanLink => link.driver.type === 'vxlan' && link.name !== own.name)
}
