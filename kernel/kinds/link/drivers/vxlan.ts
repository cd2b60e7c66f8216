import type { IpAddr } from '../../../../lib/address.ts'
import { type Comparison, phrase } from '../../kind.ts'
import type { Driver } from './driver.ts'

/** Source: linux/if_link.h, IFLA_VXLAN_*. */
export interface VxlanDriver {
  readonly type: 'vxlan'
  readonly vni: number
  /** Name of the device below; undefined: none. The kernel deletes the vxlan device together with it. */
  readonly underlay?: string
  readonly local?: IpAddr
  /** Where frames to unknown addresses go; no device of ours has one. */
  readonly group?: IpAddr
  /** UDP port in host byte order. */
  readonly port: number
  readonly learning: boolean
  readonly gbp: boolean
}

export const vxlan: Driver<VxlanDriver> = {
  type: 'vxlan',
  compare,
  words: (driver) =>
    phrase(
      `vxlan id ${driver.vni}`,
      driver.local && `local ${driver.local}`,
      driver.underlay && `dev ${driver.underlay}`,
      `dstport ${driver.port}`,
      learningText(driver),
      'ttl auto',
      driver.gbp && 'gbp',
    ),
  describe: (driver) =>
    phrase(
      `vxlan id ${driver.vni} dstport ${driver.port}`,
      driver.underlay && `dev ${driver.underlay}`,
      driver.local && `local ${driver.local}`,
      learningText(driver),
      driver.gbp && 'gbp',
    ),
  change: (actual, desired) =>
    phrase(
      `vxlan id ${desired.vni}`,
      desired.underlay !== actual.underlay && desired.underlay && `dev ${desired.underlay}`,
      desired.local !== actual.local && desired.local && `local ${desired.local}`,
      desired.learning !== actual.learning && learningText(desired),
    ),
}

// Learning, the local address and the device below change on a live device; VNI, port, group and GBP do not, nor can the device below
// be taken away. Source: drivers/net/vxlan/vxlan_core.c of Linux, vxlan_changelink.
function compare(actual: VxlanDriver, desired: VxlanDriver): Comparison {
  const kept =
    actual.vni === desired.vni &&
    actual.port === desired.port &&
    (desired.underlay !== undefined || actual.underlay === undefined) &&
    actual.group === desired.group &&
    actual.gbp === desired.gbp
  if (!kept) return 'recreate'
  const same =
    actual.local === desired.local && actual.underlay === desired.underlay && actual.learning === desired.learning
  return same ? 'same' : 'update'
}

function learningText(driver: VxlanDriver): string {
  return driver.learning ? 'learning' : 'nolearning'
}
