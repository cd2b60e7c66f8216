import type { Sysctl } from '../objects.ts'
import { AttributeTable } from './attributes.ts'
import { ADDRESS_FAMILY } from './constants.ts'
import { behind, type Message } from './message.ts'

const NETCONFMSG_BYTES = 4
const NETCONFA_IFINDEX = 1
const NETCONFA_FORWARDING = 2
const NETCONFA_RP_FILTER = 3
/** NETCONFA_IFINDEX_ALL, as a number without sign. */
const ALL = 0xffffffff

const attributes = new AttributeTable(NETCONFA_RP_FILTER)

/** What the kernel tells of the sysctls below net/ipv4/conf that somebody here may want: those that a reset of all sysctls would change. */
export function parseNetconf(message: Message, nameOf: (index: number) => string | undefined): readonly Sysctl[] {
  const at = behind(message, NETCONFMSG_BYTES)
  if (message.view.getUint8(message.start) !== ADDRESS_FAMILY[4]) return []
  attributes.read(message.view, at, message.end)
  const index = attributes.has(NETCONFA_IFINDEX) ? attributes.u32(NETCONFA_IFINDEX) : 0
  const name = index === ALL ? 'all' : nameOf(index)
  if (name === undefined) return []
  const found: Sysctl[] = []
  const take = (type: number, path: string) => {
    if (attributes.has(type)) found.push({ kind: 'sysctl', path, value: String(attributes.u32(type)) })
  }
  take(NETCONFA_FORWARDING, index === ALL ? 'net/ipv4/ip_forward' : `net/ipv4/conf/${name}/forwarding`)
  take(NETCONFA_RP_FILTER, `net/ipv4/conf/${name}/rp_filter`)
  return found
}
