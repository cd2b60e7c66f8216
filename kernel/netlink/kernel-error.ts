import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import type { OpError } from '../table.ts'
import { AttributeTable, align4, HEADER_BYTES, LITTLE, MalformedMessage } from './attributes.ts'
import { NLMSG_ERROR } from './constants.ts'
import type { Message } from './message.ts'

const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]))
// Two names share a number; programs know this one.
NAMES.set(constants.errno.EAGAIN, 'EAGAIN')
NAMES.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP')

const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200
const NLMSGERR_ATTR_MSG = 1
const texts = new AttributeTable(NLMSGERR_ATTR_MSG)

/** An errno as name and sentence; `text` is the kernel's own reason where it gave one. */
export function errorOf(errno: number, text?: string): OpError {
  const code = NAMES.get(errno) ?? `E${errno}`
  return { code, message: text ?? getSystemErrorMap().get(-errno)?.[1] ?? code }
}

/** The outcome in an NLMSG_ERROR or NLMSG_DONE message: undefined for success. Source: struct nlmsgerr, enum nlmsgerr_attrs. */
export function acknowledgement(message: Message): OpError | undefined {
  if (message.end - message.start < 4) throw new MalformedMessage('an acknowledgement without its error number')
  const errno = -message.view.getInt32(message.start, LITTLE)
  if (errno === 0) return undefined
  const explained = message.type === NLMSG_ERROR && (message.flags & NLM_F_ACK_TLVS) !== 0
  return errorOf(errno, explained ? extendedText(message) : undefined)
}

function extendedText(message: Message): string | undefined {
  const echoed = message.start + 4
  if (message.end - echoed < HEADER_BYTES) throw new MalformedMessage('an acknowledgement without the request header')
  const bytes = message.flags & NLM_F_CAPPED ? HEADER_BYTES : align4(message.view.getUint32(echoed, LITTLE))
  if (bytes > message.end - echoed) throw new MalformedMessage('an acknowledgement longer than its message')
  texts.read(message.view, echoed + bytes, message.end)
  return texts.has(NLMSGERR_ATTR_MSG) ? texts.text(NLMSGERR_ATTR_MSG).trim() : undefined
}
