import type { Family, IpAddr } from '../../lib/address.ts'
import { AttributeTable, MessageWriter } from './attributes.ts'
import { ADDRESS_FAMILY } from './constants.ts'
import { behind, type Message } from './message.ts'

// Source: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h.

const NFGENMSG_BYTES = 4
const NFNL_SUBSYS_CTNETLINK = 1
const IPCTNL_MSG_CT_NEW = NFNL_SUBSYS_CTNETLINK << 8
const IPCTNL_MSG_CT_GET = (NFNL_SUBSYS_CTNETLINK << 8) | 1
const CTA_TUPLE_ORIG = 1
const CTA_STATUS = 3
const CTA_TUPLE_IP = 1
const CTA_IP_V4_DST = 2
const CTA_IP_V6_DST = 4
const IPS_SRC_NAT = 0x10

const writer = new MessageWriter()
const attributes = new AttributeTable(CTA_STATUS)
const tuple = new AttributeTable(CTA_TUPLE_IP)
const addresses = new AttributeTable(CTA_IP_V6_DST)

/** The connections of a family that are tracked. */
export function dumpConnections(family: Family): Uint8Array {
  return writer.begin(IPCTNL_MSG_CT_GET, 0).u8(ADDRESS_FAMILY[family]).u8(0).u16(0).finish()
}

/** Where a connection was made to, if its source is translated: it ends when its packets leave by another device. */
export function parseMasqueraded(message: Message): IpAddr | undefined {
  if (message.type !== IPCTNL_MSG_CT_NEW) return undefined
  attributes.read(message.view, behind(message, NFGENMSG_BYTES), message.end)
  if (!attributes.has(CTA_STATUS) || (attributes.u32be(CTA_STATUS) & IPS_SRC_NAT) === 0) return undefined
  tuple.readNested(attributes, CTA_TUPLE_ORIG)
  addresses.readNested(tuple, CTA_TUPLE_IP)
  for (const type of [CTA_IP_V4_DST, CTA_IP_V6_DST]) if (addresses.has(type)) return addresses.address(type)
  return undefined
}
