import { bytesToIp, type IpAddr, ipToBytes, type MacAddr } from '../../lib/address.ts'

// Netlink speaks the host's byte order, except inside attributes that carry network values (`be` in the name).
export const LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

// `02:` and so on, the last octet without its colon.
const MAC_OCTETS = Array.from({ length: 6 * 256 }, (_unused, index) => {
  const hex = (index & 255).toString(16).padStart(2, '0')
  return index < 5 * 256 ? `${hex}:` : hex
})

/** Bytes from outside that cannot be what they claim to be. Decoders throw nothing else. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage'
}

/** Bytes up to the next boundary of four: NLMSG_ALIGN, NLA_ALIGN. */
export function align4(length: number): number {
  return (length + 3) & ~3
}

/** struct nlmsghdr: length, type, flags, sequence number, port. */
export const HEADER_BYTES = 16
/** The upper two bits of a type are flags (nested, network byte order). */
const TYPE_MASK = 0x3fff

/**
 * Builds one message: header, then fixed fields, then attributes, each aligned to four bytes. `finish` returns a copy,
 * so one writer serves a whole batch.
 */
export class MessageWriter {
  readonly #bytes = new Uint8Array(1024)
  readonly #view = new DataView(this.#bytes.buffer)
  #length = 0

  /** Source: struct nlmsghdr. Sequence number and port are set when the message is sent. */
  begin(type: number, flags: number): this {
    this.#bytes.fill(0, 0, HEADER_BYTES)
    this.#view.setUint16(4, type, LITTLE)
    this.#view.setUint16(6, flags, LITTLE)
    this.#length = HEADER_BYTES
    return this
  }

  u8(value: number): this {
    this.#view.setUint8(this.#reserve(1), value)
    return this
  }

  u16(value: number): this {
    this.#view.setUint16(this.#reserve(2), value, LITTLE)
    return this
  }

  u32(value: number): this {
    this.#view.setUint32(this.#reserve(4), value, LITTLE)
    return this
  }

  putFlag(type: number): this {
    this.#attribute(type, 0)
    return this
  }

  putU8(type: number, value: number): this {
    this.#view.setUint8(this.#attribute(type, 1), value)
    return this
  }

  putU16(type: number, value: number): this {
    this.#view.setUint16(this.#attribute(type, 2), value, LITTLE)
    return this
  }

  putU16be(type: number, value: number): this {
    this.#view.setUint16(this.#attribute(type, 2), value)
    return this
  }

  putU32(type: number, value: number): this {
    this.#view.setUint32(this.#attribute(type, 4), value, LITTLE)
    return this
  }

  /** Text with its closing zero byte. */
  putText(type: number, text: string): this {
    const bytes = Buffer.from(`${text}\0`)
    this.#bytes.set(bytes, this.#attribute(type, bytes.length))
    return this
  }

  /** Text without it, as iproute2 writes the kind of a device. */
  putBareText(type: number, text: string): this {
    const bytes = Buffer.from(text)
    this.#bytes.set(bytes, this.#attribute(type, bytes.length))
    return this
  }

  putBytes(type: number, bytes: Uint8Array): this {
    this.#bytes.set(bytes, this.#attribute(type, bytes.length))
    return this
  }

  /** Four or sixteen bytes in network order. */
  putAddress(type: number, address: IpAddr): this {
    this.#address(this.#attribute(type, address.includes(':') ? 16 : 4), address)
    return this
  }

  putJoined(type: number, first: Uint8Array, address: IpAddr): this {
    const at = this.#attribute(type, first.length + (address.includes(':') ? 16 : 4))
    this.#bytes.set(first, at)
    this.#address(at + first.length, address)
    return this
  }

  raw(bytes: Uint8Array): this {
    this.#bytes.set(bytes, this.#reserve(bytes.length))
    return this
  }

  #address(start: number, address: IpAddr): void {
    if (address.includes(':')) {
      this.#bytes.set(ipToBytes(address), start)
      return
    }
    let at = start
    let octet = 0
    for (let index = 0; index < address.length; index += 1) {
      const code = address.charCodeAt(index)
      if (code === 0x2e) {
        this.#bytes[at] = octet
        at += 1
        octet = 0
      } else octet = octet * 10 + code - 0x30
    }
    this.#bytes[at] = octet
  }

  putMac(type: number, mac: MacAddr): this {
    const at = this.#attribute(type, 6)
    for (let index = 0; index < 6; index += 1) {
      this.#bytes[at + index] = Number.parseInt(mac.slice(index * 3, index * 3 + 2), 16)
    }
    return this
  }

  /** The attributes that `inner` puts become the payload of this one. iproute2 sets no nested flag for these types, nor do we. */
  nest(type: number, inner: (writer: this) => void): this {
    const start = this.#attribute(type, 0) - 4
    inner(this)
    this.#view.setUint16(start, this.#length - start, LITTLE)
    return this
  }

  finish(): Uint8Array {
    this.#view.setUint32(0, this.#length, LITTLE)
    return this.#bytes.slice(0, this.#length)
  }

  /** Where the payload goes. Its padding is cleared: the buffer is used again and again. */
  #attribute(type: number, payload: number): number {
    const start = this.#reserve(align4(4 + payload))
    this.#bytes.fill(0, start + 4 + (payload & ~3), this.#length)
    this.#view.setUint16(start, 4 + payload, LITTLE)
    this.#view.setUint16(start + 2, type, LITTLE)
    return start + 4
  }

  #reserve(bytes: number): number {
    const start = this.#length
    if (start + bytes > this.#bytes.length) throw new RangeError('a netlink message of more than 1,024 bytes')
    this.#length += bytes
    return start
  }
}

/**
 * Where each attribute of a run lies, found once, read as needed. Of a type given twice the last counts, as in the kernel.
 * Reused from message to message: nothing is allocated while a dump of thousands is read.
 */
export class AttributeTable {
  readonly #starts: Int32Array
  readonly #lengths: Int32Array
  #view: DataView

  constructor(largestType: number) {
    this.#starts = new Int32Array(largestType + 1)
    this.#lengths = new Int32Array(largestType + 1)
    this.#view = new DataView(new ArrayBuffer(0))
  }

  /** @throws MalformedMessage when an attribute reaches past `end` */
  read(view: DataView, start: number, end: number): this {
    if (end > view.byteLength || start > end) throw new MalformedMessage('a message shorter than its fixed fields')
    this.#starts.fill(-1)
    this.#view = view
    let at = start
    // Up to three bytes may follow the last attribute: padding.
    while (at + 4 <= end) {
      const length = view.getUint16(at, LITTLE)
      if (length < 4 || at + length > end) throw new MalformedMessage('an attribute longer than its message')
      const type = view.getUint16(at + 2, LITTLE) & TYPE_MASK
      if (type < this.#starts.length) {
        this.#starts[type] = at + 4
        this.#lengths[type] = length - 4
      }
      at += align4(length)
    }
    return this
  }

  /** The attributes inside one of `outer`'s; none when `outer` has no such attribute. */
  readNested(outer: AttributeTable, type: number): this {
    if (!outer.has(type)) return this.read(this.#view, 0, 0)
    const start = outer.start(type)
    return this.read(outer.#view, start, start + outer.length(type))
  }

  has(type: number): boolean {
    return this.start(type) >= 0
  }

  start(type: number): number {
    return this.#starts[type] ?? -1
  }

  /** Bytes of the payload; 0 where there is none. */
  length(type: number): number {
    return this.has(type) ? (this.#lengths[type] ?? 0) : 0
  }

  u8(type: number): number {
    return this.#view.getUint8(this.#payload(type, 1))
  }

  u16(type: number): number {
    return this.#view.getUint16(this.#payload(type, 2), LITTLE)
  }

  u16be(type: number): number {
    return this.#view.getUint16(this.#payload(type, 2))
  }

  u32(type: number): number {
    return this.#view.getUint32(this.#payload(type, 4), LITTLE)
  }

  u32be(type: number): number {
    return this.#view.getUint32(this.#payload(type, 4))
  }

  u64be(type: number): number {
    const at = this.#payload(type, 8)
    return this.#view.getUint32(at) * 2 ** 32 + this.#view.getUint32(at + 4)
  }

  bytes(type: number): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#payload(type, 0), this.length(type))
  }

  /** Text up to its zero byte. */
  text(type: number): string {
    const bytes = this.bytes(type)
    const end = bytes.indexOf(0)
    return Buffer.from(bytes.buffer, bytes.byteOffset, end < 0 ? bytes.length : end).toString('utf8')
  }

  /** An address of four or sixteen bytes, `skip` bytes into the payload. */
  address(type: number, skip = 0): IpAddr {
    const length = this.length(type) - skip
    if (length !== 4 && length !== 16) throw new MalformedMessage(`attribute ${type} is no address`)
    const at = this.#payload(type, length) + skip
    const view = this.#view
    if (length === 16) return bytesToIp(new Uint8Array(view.buffer, view.byteOffset + at, 16))
    // Without a view of the bytes: a dump of thousands leaves little behind but its texts.
    return `${view.getUint8(at)}.${view.getUint8(at + 1)}.${view.getUint8(at + 2)}.${view.getUint8(at + 3)}` as IpAddr
  }

  /** An IPv4 address; undefined where there is none or the kernel says 0.0.0.0, which means the same. */
  specifiedAddress(type: number): IpAddr | undefined {
    const address = this.has(type) ? this.address(type) : undefined
    return address === '0.0.0.0' ? undefined : address
  }

  /** A hardware address; undefined when it has not six bytes, as of a tunnel device. */
  mac(type: number): MacAddr | undefined {
    if (this.length(type) !== 6) return undefined
    const at = this.#payload(type, 6)
    let text = ''
    for (let index = 0; index < 6; index += 1) text += MAC_OCTETS[index * 256 + this.#view.getUint8(at + index)]
    return text as MacAddr
  }

  #payload(type: number, bytes: number): number {
    const start = this.start(type)
    if (start < 0 || this.length(type) < bytes) throw new MalformedMessage(`attribute ${type} is missing or too short`)
    return start
  }
}
