import { addressBits, familyOf } from '../../lib/address.ts'
import { LOOPBACK } from '../kinds/address/kind.ts'
import { PROBE_TABLE } from '../kinds/probe-route/kind.ts'
import { NO_PROBE_PRIORITY, PROBE_PRIORITY, type ProbeRule } from '../kinds/probe-rule/kind.ts'
import { ROUTE_PROTOCOL } from '../objects.ts'
import { AttributeTable, LITTLE, MessageWriter } from './attributes.ts'
import { ADDRESS_FAMILY, NLM_F_REQUEST, RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE, WRITE_FLAGS } from './constants.ts'
import { behind, type Message } from './message.ts'

// Source: linux/fib_rules.h.
const RULE_BYTES = 12
const ACTION_AT = 7
const FR_ACT_TO_TBL = 1
const FR_ACT_UNREACHABLE = 7
const FRA_SRC = 2
const FRA_IIFNAME = 3
const FRA_PRIORITY = 6
const FRA_TABLE = 15
const FRA_PROTOCOL = 21
const FRA_IP_PROTO = 22
const FRA_SPORT_RANGE = 23
const IPPROTO_UDP = 17

const writer = new MessageWriter()
const attributes = new AttributeTable(FRA_SPORT_RANGE)

/** `ip rule add from IP iif lo ipproto udp sport FIRST-LAST {lookup TABLE | unreachable} priority N protocol N` */
export function writeProbeRule(rule: ProbeRule): Uint8Array {
  return ruleMessage(RTM_NEWRULE, WRITE_FLAGS.create, rule)
}

/** `ip rule delete ...`: with everything that tells it from somebody else's. */
export function deleteProbeRule(rule: ProbeRule): Uint8Array {
  return ruleMessage(RTM_DELRULE, 0, rule)
}

/** `ip rule show`, of both families. */
export function dumpRules(): Uint8Array {
  header(RTM_GETRULE, 0, { family: 0, sourceBits: 0, action: 0 })
  return writer.finish()
}

/** Undefined for every rule that is none of ours. */
export function parseProbeRule(message: Message): ProbeRule | undefined {
  const at = behind(message, RULE_BYTES)
  const { view, start, end } = message
  const family = view.getUint8(start)
  if (family !== ADDRESS_FAMILY[4] && family !== ADDRESS_FAMILY[6]) return undefined
  attributes.read(view, at, end)
  const isOurs = attributes.has(FRA_PROTOCOL) && attributes.u8(FRA_PROTOCOL) === ROUTE_PROTOCOL
  const action = isOurs && attributes.has(FRA_SRC) ? actionOf(view.getUint8(start + ACTION_AT)) : undefined
  const sources = sourcesOf()
  return action && sources && { kind: 'probe-rule', action, from: attributes.address(FRA_SRC), sources }
}

/** Of the attributes that were read. Source: struct fib_rule_port_range, in the host's byte order. */
function sourcesOf(): ProbeRule['sources'] | undefined {
  if (!attributes.has(FRA_SPORT_RANGE)) return undefined
  const { buffer, byteOffset, byteLength } = attributes.bytes(FRA_SPORT_RANGE)
  const range = new DataView(buffer, byteOffset, byteLength)
  return { first: range.getUint16(0, LITTLE), last: range.getUint16(2, LITTLE) }
}

/** Of the attributes that were read. */
function actionOf(number: number): ProbeRule['action'] | undefined {
  const table = attributes.has(FRA_TABLE) ? attributes.u32(FRA_TABLE) : 0
  if (number === FR_ACT_TO_TBL) return table === PROBE_TABLE ? 'lookup' : undefined
  const priority = attributes.has(FRA_PRIORITY) ? attributes.u32(FRA_PRIORITY) : 0
  return number === FR_ACT_UNREACHABLE && priority === NO_PROBE_PRIORITY ? 'unreachable' : undefined
}

function ruleMessage(type: number, mode: number, { from, action, sources }: ProbeRule): Uint8Array {
  const family = familyOf(from)
  const leads = action === 'lookup'
  const number = leads ? FR_ACT_TO_TBL : FR_ACT_UNREACHABLE
  header(type, mode, { family: ADDRESS_FAMILY[family], sourceBits: addressBits(family), action: number })
  // What this host itself sends comes from there.
  writer.putAddress(FRA_SRC, from).putText(FRA_IIFNAME, LOOPBACK)
  writer.putU32(FRA_PRIORITY, leads ? PROBE_PRIORITY : NO_PROBE_PRIORITY)
  if (leads) writer.putU32(FRA_TABLE, PROBE_TABLE)
  writer.putU8(FRA_PROTOCOL, ROUTE_PROTOCOL).putU8(FRA_IP_PROTO, IPPROTO_UDP)
  // struct fib_rule_port_range, in the host's byte order
  const range = new DataView(new ArrayBuffer(4))
  range.setUint16(0, sources.first, LITTLE)
  range.setUint16(2, sources.last, LITTLE)
  return writer.putBytes(FRA_SPORT_RANGE, new Uint8Array(range.buffer)).finish()
}

function header(
  type: number,
  mode: number,
  { family, sourceBits, action }: { readonly family: number; readonly sourceBits: number; readonly action: number },
): void {
  writer.begin(type, NLM_F_REQUEST | mode)
  // struct fib_rule_hdr: family, destination length, source length, type of service, table, two reserved, action, flags
  writer.u8(family).u8(0).u8(sourceBits).u8(0).u8(0).u8(0).u8(0).u8(action).u32(0)
}
