import type { Family } from '../../lib/address.ts'
import { AttributeTable, align4, HEADER_BYTES, LITTLE, MalformedMessage, MessageWriter } from './attributes.ts'
import { behind, eachMessage, type Message } from './message.ts'

// Sources: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.

export const NETLINK_NETFILTER = 12
/** NFNLGRP_NFTABLES: every change of a rule set, `nft` and `iptables-nft` alike. */
export const NFTABLES_GROUP = 7
export const NF_INET_PRE_ROUTING = 0
export const NF_INET_LOCAL_IN = 1
export const NF_INET_FORWARD = 2

const NFNL_SUBSYS_NFTABLES = 10
const NFGENMSG_BYTES = 4
const messageType = (number: number) => (NFNL_SUBSYS_NFTABLES << 8) | number
const NFT_MSG_NEWTABLE = messageType(0)
const NFT_MSG_GETTABLE = messageType(1)
const NFT_MSG_DELTABLE = messageType(2)
const NFT_MSG_NEWCHAIN = messageType(3)
const NFT_MSG_GETCHAIN = messageType(4)
const NFT_MSG_DELCHAIN = messageType(5)
const NFT_MSG_NEWRULE = messageType(6)
const NFT_MSG_DELRULE = messageType(8)
const NFT_MSG_NEWGEN = messageType(15)
const NFT_MSG_GETGEN = messageType(16)

const NFTA_TABLE_NAME = 1
const NFTA_CHAIN_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_HOOK_HOOKNUM = 1
const NFTA_HOOK_PRIORITY = 2
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_GEN_ID = 1

const NFPROTO: Readonly<Record<number, NetfilterFamily>> = { 1: 'inet', 2: 'ip', 10: 'ip6' }

/** Of a table; others (arp, bridge, netdev) are left out. */
export type NetfilterFamily = 'ip' | 'ip6' | 'inet'

export interface TableName {
  readonly family: NetfilterFamily
  readonly name: string
}

/** A chain that packets enter by themselves. */
export interface BaseChain {
  readonly family: NetfilterFamily
  readonly table: string
  readonly name: string
  /** NF_INET_* number. */
  readonly hook: number
  readonly priority: number
  readonly policy: 'accept' | 'drop'
}

/** Where something changed; the rest of the event is not read. */
export interface RuleChange {
  readonly family: NetfilterFamily
  readonly table: string
  /** Undefined: the table itself. */
  readonly chain: string | undefined
  /** Of a base chain that came, went or changed: NF_INET_* number. */
  readonly hook?: number
}

const writer = new MessageWriter()
const attributes = new AttributeTable(NFTA_CHAIN_POLICY)
const hookAttributes = new AttributeTable(NFTA_HOOK_PRIORITY)

/** struct nfgenmsg: family, version, resource. */
function begin(type: number, family: number): MessageWriter {
  return writer.begin(type, 0).u8(family).u8(0).u16(0)
}

export function getGeneration(): Uint8Array {
  return begin(NFT_MSG_GETGEN, 0).finish()
}

/** A number that every change of any rule set raises; undefined for another message. @throws MalformedMessage */
export function parseGeneration(message: Message): number | undefined {
  if (message.type !== NFT_MSG_NEWGEN) return undefined
  attributes.read(message.view, behind(message, NFGENMSG_BYTES), message.end)
  return attributes.has(NFTA_GEN_ID) ? attributes.u32be(NFTA_GEN_ID) : undefined
}

export function dumpTables(): Uint8Array {
  return begin(NFT_MSG_GETTABLE, 0).finish()
}

/** @throws MalformedMessage */
export function parseTable(message: Message): TableName | undefined {
  const family = familyOf(message)
  if (message.type !== NFT_MSG_NEWTABLE || family === undefined) return undefined
  attributes.read(message.view, behind(message, NFGENMSG_BYTES), message.end)
  return { family, name: attributes.text(NFTA_TABLE_NAME) }
}

export function dumpChains(): Uint8Array {
  return begin(NFT_MSG_GETCHAIN, 0).finish()
}

/** @throws MalformedMessage */
export function parseBaseChain(message: Message): BaseChain | undefined {
  const family = familyOf(message)
  if (message.type !== NFT_MSG_NEWCHAIN || family === undefined) return undefined
  attributes.read(message.view, behind(message, NFGENMSG_BYTES), message.end)
  if (!attributes.has(NFTA_CHAIN_HOOK)) return undefined
  hookAttributes.readNested(attributes, NFTA_CHAIN_HOOK)
  return {
    family,
    table: attributes.text(NFTA_CHAIN_TABLE),
    name: attributes.text(NFTA_CHAIN_NAME),
    hook: hookAttributes.u32be(NFTA_HOOK_HOOKNUM),
    priority: hookAttributes.u32be(NFTA_HOOK_PRIORITY) | 0,
    // NF_DROP is 0, NF_ACCEPT 1.
    policy: attributes.has(NFTA_CHAIN_POLICY) && attributes.u32be(NFTA_CHAIN_POLICY) === 0 ? 'drop' : 'accept',
  }
}

/** What an event is about; undefined for sets, counters, the generation and families that carry no IP. @throws MalformedMessage */
export function parseRuleChange(message: Message): RuleChange | undefined {
  const family = familyOf(message)
  if (family === undefined) return undefined
  const start = behind(message, NFGENMSG_BYTES)
  switch (message.type) {
    case NFT_MSG_NEWTABLE:
    case NFT_MSG_DELTABLE:
      attributes.read(message.view, start, message.end)
      return { family, table: attributes.text(NFTA_TABLE_NAME), chain: undefined }
    case NFT_MSG_NEWCHAIN:
    case NFT_MSG_DELCHAIN:
      attributes.read(message.view, start, message.end)
      return {
        family,
        table: attributes.text(NFTA_CHAIN_TABLE),
        chain: attributes.text(NFTA_CHAIN_NAME),
        ...hookOf(),
      }
    case NFT_MSG_NEWRULE:
    case NFT_MSG_DELRULE:
      attributes.read(message.view, start, message.end)
      return { family, table: attributes.text(NFTA_RULE_TABLE), chain: attributes.text(NFTA_RULE_CHAIN) }
    default:
      return undefined
  }
}

/**
 * Shows the messages that speak of something else than rules, of several datagrams behind each other.
 * @throws MalformedMessage
 */
export function eachOtherThanRules(view: DataView, length: number, visit: (message: Message) => void): void {
  let at = 0
  while (at + HEADER_BYTES <= length) {
    const bytes = view.getUint32(at, LITTLE)
    const type = view.getUint16(at + 4, LITTLE)
    if (bytes < HEADER_BYTES || at + bytes > length) throw new MalformedMessage('a message longer than its datagram')
    if (type !== NFT_MSG_NEWRULE && type !== NFT_MSG_DELRULE && type !== NFT_MSG_NEWGEN) {
      eachMessage(new DataView(view.buffer, view.byteOffset + at, bytes), bytes, visit)
    }
    at += align4(bytes)
  }
}

/** The bytes by which an event says that its rule stands in a chain of this name. */
export function ruleChainBytes(name: string): Buffer {
  const text = Buffer.from(`${name}\0`)
  const bytes = Buffer.alloc(4 + text.length)
  const header = new DataView(bytes.buffer, bytes.byteOffset)
  header.setUint16(0, bytes.length, LITTLE)
  header.setUint16(2, NFTA_RULE_CHAIN, LITTLE)
  bytes.set(text, 4)
  return bytes
}

function hookOf(): { readonly hook?: number } {
  if (!attributes.has(NFTA_CHAIN_HOOK)) return {}
  hookAttributes.readNested(attributes, NFTA_CHAIN_HOOK)
  return { hook: hookAttributes.u32be(NFTA_HOOK_HOOKNUM) }
}

function familyOf(message: Message): NetfilterFamily | undefined {
  return message.end > message.start ? NFPROTO[message.view.getUint8(message.start)] : undefined
}

/** As netfilter calls a table of this family. */
export function netfilterFamily(family: Family): NetfilterFamily {
  return family === 4 ? 'ip' : 'ip6'
}
