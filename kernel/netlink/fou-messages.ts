import type { FouPort } from '../objects.ts'
import { AttributeTable, MessageWriter } from './attributes.ts'
import { ADDRESS_FAMILY } from './constants.ts'
import { beginGeneric, GENERIC_HEADER_BYTES } from './generic.ts'
import { behind, type Message } from './message.ts'

/** Name of the family. Source: linux/fou.h. */
export const FOU_FAMILY = 'fou'

const FOU_CMD_ADD = 1
const FOU_CMD_DEL = 2
const FOU_CMD_GET = 3
const FOU_ATTR_PORT = 1
const FOU_ATTR_AF = 2
const FOU_ATTR_IPPROTO = 3
const FOU_ATTR_TYPE = 4
const FOU_ATTR_LOCAL_V4 = 6
/** Behind the UDP header stands the packet itself, without a header of GUE. */
const FOU_ENCAP_DIRECT = 1

const writer = new MessageWriter()
const attributes = new AttributeTable(FOU_ATTR_LOCAL_V4)

/** `ip fou add port PORT ipproto PROTOCOL` */
export function addFouPort(family: number, { port, protocol, local }: FouPort): Uint8Array {
  beginGeneric(writer, family, FOU_CMD_ADD)
  putPort(port)
  writer.putU8(FOU_ATTR_IPPROTO, protocol)
  if (local !== undefined) writer.putAddress(FOU_ATTR_LOCAL_V4, local)
  return writer.finish()
}

/** `ip fou del port PORT` */
export function deleteFouPort(family: number, { port, local }: FouPort): Uint8Array {
  beginGeneric(writer, family, FOU_CMD_DEL)
  putPort(port)
  if (local !== undefined) writer.putAddress(FOU_ATTR_LOCAL_V4, local)
  return writer.finish()
}

/** `ip fou show` */
export function dumpFouPorts(family: number): Uint8Array {
  return beginGeneric(writer, family, FOU_CMD_GET).finish()
}

/** Undefined for a port of IPv6, which is another one. A port of GUE shows as protocol 0. */
export function parseFouPort(message: Message): FouPort | undefined {
  attributes.read(message.view, behind(message, GENERIC_HEADER_BYTES), message.end)
  if (attributes.u8(FOU_ATTR_AF) !== ADDRESS_FAMILY[4]) return undefined
  const local = attributes.specifiedAddress(FOU_ATTR_LOCAL_V4)
  return {
    kind: 'fou-port',
    port: attributes.u16be(FOU_ATTR_PORT),
    protocol: attributes.u8(FOU_ATTR_IPPROTO),
    ...(local === undefined ? {} : { local }),
  }
}

function putPort(port: number): void {
  writer.putU16be(FOU_ATTR_PORT, port).putU8(FOU_ATTR_TYPE, FOU_ENCAP_DIRECT).putU8(FOU_ATTR_AF, ADDRESS_FAMILY[4])
}
