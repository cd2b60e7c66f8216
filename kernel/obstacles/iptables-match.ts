import { type Cidr, cidrOf, contains, type Family, overlaps, parseCidr } from '../../lib/address.ts'
import { ruleWords } from '../rules/iptables-words.ts'
import { all, type ForwardedPacket, type Matches, not, type OuterPacket } from './packet-fate.ts'

/** They are said again by an option, or say nothing of a packet. */
const SILENT = new Set(['comment', 'udp', 'tcp', 'conntrack', 'state', 'multiport', 'addrtype', 'icmp', 'icmp6'])

/** Whether a rule of `iptables-save` is one for the packet. Source: iptables-extensions(8). */
export function iptablesMatches(rule: string, packet: OuterPacket | ForwardedPacket, family: Family): Matches {
  const found: Matches[] = []
  const words = ruleWords(rule)
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? ''
    // What follows belongs to the target.
    if (word === '-j' || word === '-g') break
    if (!word.startsWith('-')) {
      // As in: [unsupported revision]
      if (word.startsWith('[')) found.push('maybe')
      continue
    }
    const value = words[index + 1] ?? ''
    const matches =
      matchesOfAny(word, value) ??
      (packet.protocol === 'any' ? forwardedMatches(word, value, packet) : optionMatches(word, value, packet, family))
    found.push(words[index - 1] === '!' ? not(matches) : matches)
  }
  return all(found)
}

/** What is the same for every packet that begins something; undefined: it depends on the packet. */
function matchesOfAny(option: string, value: string): Matches | undefined {
  switch (option) {
    case '-m':
      return SILENT.has(value) ? 'yes' : 'maybe'
    case '--comment':
      return 'yes'
    case '--ctstate':
    case '--state':
      return yesIf(value.split(',').includes('NEW'))
    default:
      return undefined
  }
}

function optionMatches(option: string, value: string, packet: OuterPacket, family: Family): Matches {
  switch (option) {
    case '-p':
      return yesIf(protocolNames(packet).includes(value) || value === 'all')
    case '--dport':
    case '--dports':
      return yesIf(packet.port !== undefined && value.split(',').some((part) => isInRange(packet.port ?? 0, part)))
    case '--sport':
    case '--sports':
      return value.split(',').some((part) => mayBeSource(packet, lastOf(part))) ? 'maybe' : 'no'
    case '-i':
      return yesIf(isDevice(packet.device, value, '+'))
    case '-d': {
      const to = parseCidr(value)
      return to === undefined ? 'maybe' : yesIf(contains(to, cidrOf(packet.local, family === 4 ? 32 : 128)))
    }
    case '-s': {
      const from = parseCidr(value)
      return from !== undefined && LOOPBACK.some((range) => overlaps(range, from)) && !value.endsWith('/0')
        ? 'no'
        : 'maybe'
    }
    case '--dst-type':
      return yesIf(value.split(',').includes('LOCAL'))
    default:
      return 'maybe'
  }
}

function forwardedMatches(option: string, value: string, packet: ForwardedPacket): Matches {
  switch (option) {
    case '-p':
      return value === 'all' ? 'yes' : 'maybe'
    case '-i':
    case '-o': {
      const isKnown = (option === '-i') === (packet.side === 'in')
      if (isKnown) return yesIf(isDevice(packet.device, value, '+'))
      return packet.peerSide.includes(value) ? 'no' : 'maybe'
    }
    case '-s':
      return liesIn(packet.from, value)
    case '-d':
      return liesIn(packet.to, value)
    case '--dst-type':
      return value === 'LOCAL' ? 'no' : 'maybe'
    default:
      return 'maybe'
  }
}

/** Some of the addresses may be in the prefix, and others not. */
export function liesIn(addresses: Cidr, text: string): Matches {
  const prefix = parseCidr(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`)
  if (prefix === undefined) return 'maybe'
  return contains(prefix, addresses) ? 'yes' : overlaps(prefix, addresses) ? 'maybe' : 'no'
}

const LOOPBACK = ['127.0.0.0/8', '::1/128'].flatMap((text) => parseCidr(text) ?? [])

export function protocolNames({ protocol }: OuterPacket): readonly string[] {
  return protocol === 'udp' ? ['udp', '17'] : ['ipencap', 'ipip', 'ipv4', '4']
}

/** `wildcard` ends a name that stands for all that begin so. */
export function isDevice(device: string, name: string, wildcard: string): boolean {
  return name.endsWith(wildcard) ? device.startsWith(name.slice(0, -1)) : device === name
}

export function yesIf(holds: boolean): Matches {
  return holds ? 'yes' : 'no'
}

/** Tunnels send from their own port, or from one that the kernel picks: from none of those kept for servers. */
export function mayBeSource({ port }: OuterPacket, highest: number): boolean {
  return port !== undefined && highest >= Math.min(1_024, port)
}

function lastOf(text: string): number {
  const [from = '', to = from] = text.split(':')
  return to === '' ? 65_535 : Number(to)
}

function isInRange(port: number, text: string): boolean {
  const [from = '', to = from] = text.split(':')
  return Number(from) <= port && port <= Number(to === '' ? 65_535 : to)
}
