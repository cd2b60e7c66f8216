import type { Family, IpAddr } from '../../lib/address.ts'
import { AttributeTable, MessageWriter } from './attributes.ts'
import { ADDRESS_FAMILY } from './constants.ts'
import { behind, type Message } from './message.ts'

// Source: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h; net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match.

const NFGENMSG_BYTES = 4
const NFNL_SUBSYS_CTNETLINK = 1
const IPCTNL_MSG_CT_NEW = NFNL_SUBSYS_CTNETLINK << 8
const IPCTNL_MSG_CT_GET = (NFNL_SUBSYS_CTNETLINK << 8) | 1
const CTA_TUPLE_REPLY = 2
const CTA_STATUS = 3
const CTA_STATUS_MASK = 26
const CTA_TUPLE_IP = 1
const CTA_IP_V4_SRC = 1
const CTA_IP_V4_DST = 2
const CTA_IP_V6_SRC = 3
const CTA_IP_V6_DST = 4
const IPS_SRC_NAT = 0x10

const writer = new MessageWriter()
const attributes = new AttributeTable(CTA_STATUS)
const tuple = new AttributeTable(CTA_TUPLE_IP)
const addresses = new AttributeTable(CTA_IP_V6_DST)

/** A connection whose source is translated. */
export interface Translated {
  /** Where its packets go, behind a translation of the destination, too: of a NodePort the container. */
  readonly to: IpAddr
  /** The source that they have there. */
  readonly as: IpAddr
}

/** `conntrack -L -f FAMILY -u STATUS`, where Linux filters by it: from 5.15 on. Before, it lists all. */
export function dumpTranslated(family: Family): Uint8Array {
  const status = new Uint8Array([0, 0, 0, IPS_SRC_NAT])
  writer.begin(IPCTNL_MSG_CT_GET, 0).u8(ADDRESS_FAMILY[family]).u8(0).u16(0)
  return writer.putBytes(CTA_STATUS, status).putBytes(CTA_STATUS_MASK, status).finish()
}

/** Undefined for a connection with its own source. */
export function parseTranslated(message: Message): Translated | undefined {
  if (message.type !== IPCTNL_MSG_CT_NEW) return undefined
  attributes.read(message.view, behind(message, NFGENMSG_BYTES), message.end)
  if (!attributes.has(CTA_STATUS) || (attributes.u32be(CTA_STATUS) & IPS_SRC_NAT) === 0) return undefined
  tuple.readNested(attributes, CTA_TUPLE_REPLY)
  addresses.readNested(tuple, CTA_TUPLE_IP)
  // The answer comes from where the packets go.
  for (const [source, destination] of [
    [CTA_IP_V4_SRC, CTA_IP_V4_DST],
    [CTA_IP_V6_SRC, CTA_IP_V6_DST],
  ] as const)
    if (addresses.has(source)) return { to: addresses.address(source), as: addresses.address(destination) }
  return undefined
}
