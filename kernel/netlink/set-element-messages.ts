import { bytesToIp, type IpAddr, ipToBytes } from '../../lib/address.ts'
import { AttributeTable, align4, HEADER_BYTES, LITTLE, MalformedMessage, MessageWriter } from './attributes.ts'
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST } from './constants.ts'
import { behind, type Message } from './message.ts'

// Sources: linux/netfilter/nf_tables.h, libnftnl's udata.h, nft(8) on concatenations: every part of a key is padded to four bytes.

const NFNL_MSG_BATCH_BEGIN = 16
const NFNL_MSG_BATCH_END = 17
const NFNL_SUBSYS_NFTABLES = 10
const NFPROTO_INET = 1
const NFGENMSG_BYTES = 4
const messageType = (number: number) => (NFNL_SUBSYS_NFTABLES << 8) | number
const NFT_MSG_NEWSETELEM = messageType(12)
const NFT_MSG_GETSETELEM = messageType(13)
const NFT_MSG_DELSETELEM = messageType(14)

const NFTA_SET_ELEM_LIST_TABLE = 1
const NFTA_SET_ELEM_LIST_SET = 2
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFTA_LIST_ELEM = 1
const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_TIMEOUT = 4
const NFTA_SET_ELEM_EXPIRATION = 5
const NFTA_SET_ELEM_USERDATA = 6
const NFTA_SET_ELEM_EXPR = 7
const NFTA_DATA_VALUE = 1
const NFTA_EXPR_DATA = 2
const NFTA_COUNTER_PACKETS = 2
const NFTNL_UDATA_SET_ELEM_COMMENT = 0

/** IFNAMSIZ */
const DEVICE_BYTES = 16

/** A set of a table and what its keys are: `address`, `ifname . address` or `address . address`. */
export interface SetName {
  readonly table: string
  readonly set: string
  readonly keys: 'address' | 'device' | 'pair'
}

export interface SetElement {
  /** The first part of a key that has two. */
  readonly device?: string
  readonly outer?: IpAddr
  readonly source: IpAddr
  /** Empty where there is none. */
  readonly comment: string
}

/** An element that packets made, with what the kernel says of it. */
export interface SeenElement extends SetElement {
  readonly packets: number
  /** Milliseconds since the last packet. */
  readonly ageMs: number
}

const writer = new MessageWriter()
const lists = new AttributeTable(NFTA_SET_ELEM_LIST_ELEMENTS)
const element = new AttributeTable(NFTA_SET_ELEM_EXPR)
const nested = new AttributeTable(2)

/** First and last message of a transaction of nf_tables; between them all takes effect, or nothing does. */
export function transactionBounds(): readonly [begin: Uint8Array, end: Uint8Array] {
  const bound = (type: number) =>
    // The number of the part of netfilter stands in network order here.
    writer.begin(type, NLM_F_REQUEST).u8(0).u8(0).u8(0).u8(NFNL_SUBSYS_NFTABLES).finish()
  return [bound(NFNL_MSG_BATCH_BEGIN), bound(NFNL_MSG_BATCH_END)]
}

/** `nft add element inet TABLE SET { ELEMENT comment "..." }`, refused where the element is there already. */
export function addElement(name: SetName, item: SetElement): Uint8Array {
  return elementMessage(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, name, item)
}

/** The same for many of one set: the kernel answers once for all of a message. */
export function addElements(name: SetName, items: readonly SetElement[]): readonly Uint8Array[] {
  const messages: Uint8Array[] = []
  for (let at = 0; at < items.length; at += TOGETHER) {
    const list = beginList(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, name)
    list.nest(NFTA_SET_ELEM_LIST_ELEMENTS, () => {
      for (const item of items.slice(at, at + TOGETHER)) putElement(list, item)
    })
    messages.push(list.finish())
  }
  return messages
}

/** Elements of an IPv6 pair and its comment take some 110 bytes each, and a message has 1,024. */
const TOGETHER = 7

/** `nft delete element inet TABLE SET { ELEMENT }`, whatever its comment. */
export function deleteElement(name: SetName, item: Omit<SetElement, 'comment'>): Uint8Array {
  return elementMessage(NFT_MSG_DELSETELEM, 0, name, { ...item, comment: '' })
}

/** `nft get element inet TABLE SET { ELEMENT }` */
export function getElement(name: SetName, item: Omit<SetElement, 'comment'>): Uint8Array {
  return elementMessage(NFT_MSG_GETSETELEM, 0, name, { ...item, comment: '' })
}

export function dumpElements(name: SetName): Uint8Array {
  return beginList(NFT_MSG_GETSETELEM, 0, name).finish()
}

function beginList(type: number, flags: number, name: SetName): MessageWriter {
  let head = heads.get(name)
  if (head === undefined) {
    writer.begin(0, 0).u8(NFPROTO_INET).u8(0).u16(0)
    head = writer
      .putText(NFTA_SET_ELEM_LIST_TABLE, name.table)
      .putText(NFTA_SET_ELEM_LIST_SET, name.set)
      .finish()
      .subarray(HEADER_BYTES)
    heads.set(name, head)
  }
  return writer.begin(type, flags).raw(head)
}

// The same for thousands of elements.
const heads = new WeakMap<SetName, Uint8Array>()

function elementMessage(type: number, flags: number, name: SetName, item: SetElement): Uint8Array {
  return beginList(type, flags, name)
    .nest(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => putElement(list, item))
    .finish()
}

function putElement(list: MessageWriter, item: SetElement): void {
  list.nest(NFTA_LIST_ELEM, (body) => {
    body.nest(NFTA_SET_ELEM_KEY, (key) => key.putJoined(NFTA_DATA_VALUE, firstPart(item), item.source))
    if (item.comment !== '') body.putBytes(NFTA_SET_ELEM_USERDATA, userComment(item.comment))
  })
}

const NOTHING = new Uint8Array(0)
const deviceParts = new Map<string, Uint8Array>()

function firstPart({ device, outer }: Omit<SetElement, 'comment'>): Uint8Array {
  if (outer !== undefined) return ipToBytes(outer)
  if (device === undefined) return NOTHING
  let bytes = deviceParts.get(device)
  if (bytes === undefined) {
    bytes = new Uint8Array(DEVICE_BYTES)
    bytes.set(Buffer.from(device).subarray(0, DEVICE_BYTES - 1))
    deviceParts.set(device, bytes)
  }
  return bytes
}

function userComment(comment: string): Uint8Array {
  const text = Buffer.from(`\0\0${comment}\0`)
  text[0] = NFTNL_UDATA_SET_ELEM_COMMENT
  text[1] = text.length - 2
  return text
}

/** Shows each element of the message; nothing where it is of another kind. @throws MalformedMessage */
export function eachElement(
  message: Message,
  { keys }: Pick<SetName, 'keys'>,
  visit: (item: SetElement, attributes: AttributeTable) => void,
): void {
  if (message.type !== NFT_MSG_NEWSETELEM) return
  const { view } = message
  lists.read(view, behind(message, NFGENMSG_BYTES), message.end)
  if (!lists.has(NFTA_SET_ELEM_LIST_ELEMENTS)) return
  const end = lists.start(NFTA_SET_ELEM_LIST_ELEMENTS) + lists.length(NFTA_SET_ELEM_LIST_ELEMENTS)
  for (let at = lists.start(NFTA_SET_ELEM_LIST_ELEMENTS); at + 4 <= end; ) {
    const length = view.getUint16(at, LITTLE)
    if (length < 4 || at + length > end) throw new MalformedMessage('an element longer than its list')
    element.read(view, at + 4, at + length)
    visit(readElement(keys), element)
    at += align4(length)
  }
}

function readElement(keys: SetName['keys']): SetElement {
  const comment = element.has(NFTA_SET_ELEM_USERDATA)
    ? userText(element.bytes(NFTA_SET_ELEM_USERDATA), NFTNL_UDATA_SET_ELEM_COMMENT)
    : ''
  const bytes = nested.readNested(element, NFTA_SET_ELEM_KEY).bytes(NFTA_DATA_VALUE)
  const first = keys === 'address' ? 0 : keys === 'device' ? DEVICE_BYTES : bytes.length / 2
  const length = bytes.length - first
  if (length !== 4 && length !== 16) throw new MalformedMessage(`a key of ${bytes.length} bytes`)
  const source = bytesToIp(bytes.subarray(first))
  if (keys === 'address') return { source, comment }
  if (keys === 'pair') return { outer: bytesToIp(bytes.subarray(0, first)), source, comment }
  const end = bytes.indexOf(0)
  const device = Buffer.from(bytes.buffer, bytes.byteOffset, end < 0 || end > first ? first : end).toString('latin1')
  return { device, source, comment }
}

/** The text of one type in what nft keeps beside an object: type, length, value, one after the other. */
export function userText(bytes: Uint8Array, type: number): string {
  for (let at = 0; at + 2 <= bytes.length; at += 2 + (bytes[at + 1] ?? 0)) {
    if (bytes[at] !== type) continue
    const length = Math.min(bytes[at + 1] ?? 0, bytes.length - at - 2)
    const closed = bytes[at + 1 + length] === 0 ? length - 1 : length
    return Buffer.from(bytes.buffer, bytes.byteOffset + at + 2, Math.max(0, closed)).toString('utf8')
  }
  return ''
}

/** Of an element that packets made: how many, and how long ago. */
export function seenOf(item: SetElement, attributes: AttributeTable): SeenElement {
  let packets = 0
  if (attributes.has(NFTA_SET_ELEM_EXPR)) {
    counter.readNested(nested.readNested(attributes, NFTA_SET_ELEM_EXPR), NFTA_EXPR_DATA)
    if (counter.has(NFTA_COUNTER_PACKETS)) packets = counter.u64be(NFTA_COUNTER_PACKETS)
  }
  const left = attributes.has(NFTA_SET_ELEM_EXPIRATION) ? attributes.u64be(NFTA_SET_ELEM_EXPIRATION) : 0
  const whole = attributes.has(NFTA_SET_ELEM_TIMEOUT) ? attributes.u64be(NFTA_SET_ELEM_TIMEOUT) : left
  return { ...item, packets, ageMs: Math.max(0, whole - left) }
}

const counter = new AttributeTable(NFTA_COUNTER_PACKETS)
