import type { TunDriver } from '../../kinds/link/drivers/tun.ts'
import { AttributeTable } from '../attributes.ts'
import { type DriverCodec, IFLA_INFO_DATA } from './driver-codec.ts'

// linux/if_link.h, IFLA_TUN_*
const TUN_TYPE = 3
const TUN_PERSIST = 6
const IFF_TUN = 1

const attributes = new AttributeTable(TUN_PERSIST)

/** Netlink tells of these devices and deletes them, but makes none: `kernel/ffi/tun.ts` does. */
export const tunCodec: DriverCodec<TunDriver> = {
  type: 'tun',
  putNew() {},
  putLive() {},
  read(info) {
    const data = attributes.readNested(info, IFLA_INFO_DATA)
    // A tap carries frames, not packets.
    if (!data.has(TUN_TYPE) || data.u8(TUN_TYPE) !== IFF_TUN) return undefined
    const persistent = data.has(TUN_PERSIST) && data.u8(TUN_PERSIST) !== 0
    return { driver: { type: 'tun', persistent }, underlayIndex: 0 }
  },
}
