import { AttributeTable, MessageWriter } from './attributes.ts'
import { behind, type Message } from './message.ts'
import { userText } from './set-element-messages.ts'

// What of a table the ingress guard reads back: names and comments. Sources: linux/netfilter/nf_tables.h, libnftnl's udata.h.

const NFPROTO_INET = 1
const NFGENMSG_BYTES = 4
const messageType = (number: number) => (10 << 8) | number
const NFT_MSG_GETRULE = messageType(7)
const NFT_MSG_NEWRULE = messageType(6)
const NFT_MSG_NEWCHAIN = messageType(3)
const NFT_MSG_GETCHAIN = messageType(4)
const NFT_MSG_NEWSET = messageType(9)
const NFT_MSG_GETSET = messageType(10)
const NFT_MSG_DELSET = messageType(11)
const NFT_MSG_NEWSETELEM = messageType(12)
const NFT_MSG_DELSETELEM = messageType(14)
const NFT_MSG_NEWOBJ = messageType(18)
const NFT_MSG_GETOBJ = messageType(19)
const NFT_MSG_DELOBJ = messageType(20)

// In messages about chains, rules, sets, elements and objects alike.
const NFTA_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_HOOK_HOOKNUM = 1
const NFTA_HOOK_PRIORITY = 2
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_USERDATA = 7
const NFTA_SET_NAME = 2
const NFTA_SET_USERDATA = 13
const NFTA_OBJ_NAME = 2
const NFTA_OBJ_TYPE = 3
const NFTA_OBJ_DATA = 4
const NFTA_COUNTER_PACKETS = 2
const NFT_OBJECT_COUNTER = 1
const NFTNL_UDATA_RULE_COMMENT = 0
const NFTNL_UDATA_SET_COMMENT = 7

const writer = new MessageWriter()
const attributes = new AttributeTable(NFTA_SET_USERDATA)
const inner = new AttributeTable(NFTA_COUNTER_PACKETS)

const list = (type: number) => () => writer.begin(type, 0).u8(NFPROTO_INET).u8(0).u16(0).finish()
const listOf = (type: number) => (table: string) =>
  writer.begin(type, 0).u8(NFPROTO_INET).u8(0).u16(0).putText(NFTA_TABLE, table).finish()

/** Of all tables of the family inet. */
export const dumpInetChains = list(NFT_MSG_GETCHAIN)
export const dumpRulesOf = listOf(NFT_MSG_GETRULE)
export const dumpSetsOf = listOf(NFT_MSG_GETSET)
export const dumpObjectsOf = listOf(NFT_MSG_GETOBJ)

export interface ChainRecord {
  readonly table: string
  readonly name: string
  /** NF_INET_* number and priority of a chain that packets enter by themselves. */
  readonly base?: { readonly hook: number; readonly priority: number }
}

/** @throws MalformedMessage, as all of these */
export function parseChain(message: Message): ChainRecord | undefined {
  if (!begins(message, NFT_MSG_NEWCHAIN)) return undefined
  const record = { table: attributes.text(NFTA_TABLE), name: attributes.text(NFTA_CHAIN_NAME) }
  if (!attributes.has(NFTA_CHAIN_HOOK)) return record
  inner.readNested(attributes, NFTA_CHAIN_HOOK)
  return { ...record, base: { hook: inner.u32be(NFTA_HOOK_HOOKNUM), priority: inner.u32be(NFTA_HOOK_PRIORITY) | 0 } }
}

/** A rule's chain and comment, empty where it has none. */
export function parseRule(message: Message): { table: string; chain: string; mark: string } | undefined {
  if (!begins(message, NFT_MSG_NEWRULE)) return undefined
  const mark = commentIn(NFTA_RULE_USERDATA, NFTNL_UDATA_RULE_COMMENT)
  return { table: attributes.text(NFTA_TABLE), chain: attributes.text(NFTA_RULE_CHAIN), mark }
}

export function parseSet(message: Message): { table: string; name: string; mark: string } | undefined {
  if (!begins(message, NFT_MSG_NEWSET)) return undefined
  const mark = commentIn(NFTA_SET_USERDATA, NFTNL_UDATA_SET_COMMENT)
  return { table: attributes.text(NFTA_TABLE), name: attributes.text(NFTA_SET_NAME), mark }
}

/** A named counter; undefined for an object of another type. */
export function parseCounter(message: Message): { table: string; name: string; packets: number } | undefined {
  if (!begins(message, NFT_MSG_NEWOBJ) || attributes.u32be(NFTA_OBJ_TYPE) !== NFT_OBJECT_COUNTER) return undefined
  const record = { table: attributes.text(NFTA_TABLE), name: attributes.text(NFTA_OBJ_NAME) }
  inner.readNested(attributes, NFTA_OBJ_DATA)
  return { ...record, packets: inner.u64be(NFTA_COUNTER_PACKETS) }
}

/** The table in which sets or objects came or went, or elements of a set; undefined for other events. */
export function parseSetChange(
  message: Message,
): { readonly table: string; readonly of: 'set' | 'element' } | undefined {
  const of = SET_CHANGES.get(message.type)
  if (of === undefined || message.view.getUint8(message.start) !== NFPROTO_INET) return undefined
  attributes.read(message.view, behind(message, NFGENMSG_BYTES), message.end)
  return { table: attributes.text(NFTA_TABLE), of }
}

const SET_CHANGES: ReadonlyMap<number, 'set' | 'element'> = new Map([
  [NFT_MSG_NEWSET, 'set'],
  [NFT_MSG_DELSET, 'set'],
  [NFT_MSG_NEWOBJ, 'set'],
  [NFT_MSG_DELOBJ, 'set'],
  [NFT_MSG_NEWSETELEM, 'element'],
  [NFT_MSG_DELSETELEM, 'element'],
])

function begins(message: Message, type: number): boolean {
  if (message.type !== type) return false
  attributes.read(message.view, behind(message, NFGENMSG_BYTES), message.end)
  return true
}

function commentIn(type: number, userType: number): string {
  return attributes.has(type) ? userText(attributes.bytes(type), userType) : ''
}
