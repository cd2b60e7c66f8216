import { align4, HEADER_BYTES, LITTLE, MalformedMessage } from './attributes.ts'

/** One received message. The same object and the same bytes are used again for the next one: keep nothing of it. */
export interface Message {
  type: number
  flags: number
  sequence: number
  /** Port of the request that caused it; 0: the kernel itself, or a kernel that does not say. */
  port: number
  view: DataView
  /** Offset of the body in `view`. */
  start: number
  /** Offset behind the message's last byte. */
  end: number
}

const received: Message = {
  type: 0,
  flags: 0,
  sequence: 0,
  port: 0,
  view: new DataView(new ArrayBuffer(0)),
  start: 0,
  end: 0,
}

/**
 * Shows every message of one datagram to `visit`.
 * @throws MalformedMessage when a length is wrong
 */
export function eachMessage(view: DataView, length: number, visit: (message: Message) => void): void {
  if (length > view.byteLength) throw new MalformedMessage('a datagram longer than its buffer')
  let at = 0
  while (at + HEADER_BYTES <= length) {
    const bytes = view.getUint32(at, LITTLE)
    if (bytes < HEADER_BYTES || at + bytes > length) throw new MalformedMessage('a message longer than its datagram')
    received.type = view.getUint16(at + 4, LITTLE)
    received.flags = view.getUint16(at + 6, LITTLE)
    received.sequence = view.getUint32(at + 8, LITTLE)
    received.port = view.getUint32(at + 12, LITTLE)
    received.view = view
    received.start = at + HEADER_BYTES
    received.end = at + bytes
    visit(received)
    at += align4(bytes)
  }
}

/** Offset of the attributes behind `fixedBytes` of fixed fields. */
export function behind(message: Message, fixedBytes: number): number {
  if (message.end - message.start < fixedBytes) throw new MalformedMessage('a message shorter than its fixed fields')
  return message.start + fixedBytes
}
