import type { VxlanDriver } from '../../kinds/link/drivers/vxlan.ts'
import { AttributeTable, type MessageWriter } from '../attributes.ts'
import { type DriverCodec, IFLA_INFO_DATA } from './driver-codec.ts'

// linux/if_link.h, IFLA_VXLAN_*
const VXLAN_ID = 1
const VXLAN_GROUP = 2
const VXLAN_LINK = 3
const VXLAN_LOCAL = 4
const VXLAN_LEARNING = 7
const VXLAN_PORT = 15
const VXLAN_GROUP6 = 16
const VXLAN_LOCAL6 = 17
const VXLAN_GBP = 23

const attributes = new AttributeTable(VXLAN_GBP)

/** `type vxlan id VNI dev UNDERLAY local IP dstport PORT [no]learning [gbp]` */
export const vxlanCodec: DriverCodec<VxlanDriver> = {
  type: 'vxlan',
  putNew(writer, driver, underlayIndex) {
    if (underlayIndex > 0) writer.putU32(VXLAN_LINK, underlayIndex)
    if (driver.gbp) writer.putFlag(VXLAN_GBP)
    writer.putU32(VXLAN_ID, driver.vni)
    putLocalAndLearning(writer, driver)
    writer.putU16be(VXLAN_PORT, driver.port)
  },
  putLive(writer, driver, underlayIndex) {
    if (underlayIndex > 0) writer.putU32(VXLAN_LINK, underlayIndex)
    putLocalAndLearning(writer, driver)
  },
  read(info) {
    const data = attributes.readNested(info, IFLA_INFO_DATA)
    const local = firstOf(data, VXLAN_LOCAL, VXLAN_LOCAL6)
    const group = firstOf(data, VXLAN_GROUP, VXLAN_GROUP6)
    return {
      driver: {
        type: 'vxlan',
        vni: data.has(VXLAN_ID) ? data.u32(VXLAN_ID) : 0,
        ...(local === undefined ? {} : { local: data.address(local) }),
        ...(group === undefined ? {} : { group: data.address(group) }),
        port: data.has(VXLAN_PORT) ? data.u16be(VXLAN_PORT) : 0,
        learning: data.has(VXLAN_LEARNING) && data.u8(VXLAN_LEARNING) !== 0,
        gbp: data.has(VXLAN_GBP),
      },
      underlayIndex: data.has(VXLAN_LINK) ? data.u32(VXLAN_LINK) : 0,
    }
  },
}

function putLocalAndLearning(writer: MessageWriter, driver: VxlanDriver): void {
  if (driver.local !== undefined) {
    writer.putAddress(driver.local.includes(':') ? VXLAN_LOCAL6 : VXLAN_LOCAL, driver.local)
  }
  writer.putU8(VXLAN_LEARNING, driver.learning ? 1 : 0)
}

function firstOf(table: AttributeTable, ...types: number[]): number | undefined {
  return types.find((type) => table.has(type))
}
