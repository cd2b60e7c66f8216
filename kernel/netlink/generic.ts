import { OpFailure } from '../table.ts'
import { AttributeTable, MessageWriter } from './attributes.ts'
import { NetlinkChannel } from './channel.ts'
import { NLM_F_REQUEST } from './constants.ts'
import { behind } from './message.ts'
import { type NetlinkSocket, openNetlinkSocket } from './socket.ts'

/** struct genlmsghdr: command, version, two bytes of nothing. */
export const GENERIC_HEADER_BYTES = 4

// linux/genetlink.h
const NETLINK_GENERIC = 16
const QUEUE_BYTES = 1 << 18
const GENL_ID_CTRL = 16
const CTRL_CMD_GETFAMILY = 3
const CTRL_ATTR_FAMILY_ID = 1
const CTRL_ATTR_FAMILY_NAME = 2

const writer = new MessageWriter()
const attributes = new AttributeTable(CTRL_ATTR_FAMILY_NAME)

/** Generic netlink: families that modules bring along, each under a number that is known only while its module is loaded. */
export class GenericNetlink {
  readonly channel: NetlinkChannel
  readonly #socket: NetlinkSocket

  constructor(needs: { socket: NetlinkSocket }) {
    this.#socket = needs.socket
    this.channel = new NetlinkChannel(needs)
  }

  close(): void {
    this.#socket.close()
  }

  /** The family's number now: another one when its module was loaded again. Undefined: there is no such family. @throws OpFailure */
  async familyOf(name: string): Promise<number | undefined> {
    let found: number | undefined
    const [error] = await this.channel.request([getFamily(name)], (_index, message) => {
      attributes.read(message.view, behind(message, GENERIC_HEADER_BYTES), message.end)
      found = attributes.u16(CTRL_ATTR_FAMILY_ID)
    })
    if (error === undefined) return found
    if (error.code === 'ENOENT' || error.code === 'EOPNOTSUPP') return undefined
    throw new OpFailure(error)
  }
}

/** In the calling thread's network namespace. Undefined: this process may not speak it, and most of what it does needs it not. */
export function openGenericNetlink(): GenericNetlink | undefined {
  try {
    return new GenericNetlink({ socket: openNetlinkSocket({ queueBytes: QUEUE_BYTES, protocol: NETLINK_GENERIC }) })
  } catch (cause) {
    if (cause instanceof OpFailure) return undefined
    throw cause
  }
}

/** Begins a request of a family; attributes follow. */
export function beginGeneric(target: MessageWriter, family: number, command: number): MessageWriter {
  return target.begin(family, NLM_F_REQUEST).u8(command).u8(1).u16(0)
}

function getFamily(name: string): Uint8Array {
  return beginGeneric(writer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY).putText(CTRL_ATTR_FAMILY_NAME, name).finish()
}
