import { readFile } from 'node:fs/promises'
import type { Family } from '../../lib/address.ts'
import { programName } from '../rules/iptables-words.ts'
import { readTarget } from './foreign-rule.ts'
import type { ForeignRules } from './foreign-rules.ts'
import { iptablesMatches } from './iptables-match.ts'
import { nftFates } from './nft-match.ts'
import { type Closed, closedAt, type ForwardedPacket } from './packet-fate.ts'
import type { Arrival, Obstacle, PacketPath } from './packet-path.ts'

interface Filter {
  readonly closedFor: (packet: ForwardedPacket) => Closed | undefined
  /** Where it is that packets are dropped. */
  readonly where: (closed: Closed) => string
  /** What lets them through. */
  readonly command: (packet: ForwardedPacket) => string
}

/** What drops packets between containers of this host and of peers because of the device: a rule that names the one by which they have gone. */
export function arrivalObstacles(
  path: PacketPath,
  { device, instead, to }: Arrival,
  foreign: ForeignRules,
): readonly Obstacle[] {
  const { family, network } = path
  const peerSide = [device, instead]
  const packets = (device: string): readonly ForwardedPacket[] => [
    { protocol: 'any', device, peerSide, side: 'in', from: network, to },
    { protocol: 'any', device, peerSide, side: 'out', from: to, to: network },
  ]
  const before = packets(instead)
  return [...iptablesFilters(foreign, family), ...nftFilters(foreign, family)].flatMap(
    ({ closedFor, where, command }) =>
      packets(device).flatMap((packet, index): readonly Obstacle[] => {
        const closed = closedFor(packet)
        const [other] = before.slice(index)
        if (closed === undefined || other === undefined || closedFor(other) !== undefined) return []
        const goes = packet.side === 'in' ? 'comes in by' : 'goes out by'
        const text = `${where(closed)} drops what ${goes} ${device}, and not what ${goes} ${instead}`
        return [{ text, command: command(packet) }]
      }),
  )
}

function iptablesFilters({ iptables }: ForeignRules, family: Family): readonly Filter[] {
  return iptables.flatMap(({ world, rules }): readonly Filter[] => {
    const filter = rules.get('filter')
    const forward = filter?.get('FORWARD')
    if (filter === undefined || forward === undefined) return []
    const program = programName({ world, family })
    const policy = forward.policy === 'DROP' ? 'drop' : 'accept'
    const fates = (packet: ForwardedPacket) => (name: string) =>
      filter
        .get(name)
        ?.rules.map((rule) => ({ matches: iptablesMatches(rule, packet, family), verdict: readTarget(rule, filter) }))
    return [
      {
        closedFor: (packet) => closedAt('FORWARD', policy, fates(packet)),
        where: ({ drop }) =>
          drop === undefined ? `the policy of ${program} FORWARD` : `rule ${drop.rule} of ${program} ${drop.chain}`,
        command: ({ side, device, from, to }) =>
          `${program} -I FORWARD ${side === 'in' ? `-i ${device} -d ${to}` : `-s ${from} -o ${device}`} -j ACCEPT`,
      },
    ]
  })
}

function nftFilters({ chains }: ForeignRules, family: Family): readonly Filter[] {
  return chains.flatMap(({ hook, name, policy, rules, inner }): readonly Filter[] => {
    if (hook !== 'forward') return []
    const table = name.slice(0, name.lastIndexOf(' '))
    const entry = name.slice(table.length + 1)
    const fates = (packet: ForwardedPacket) => (chain: string) =>
      (chain === entry ? rules : inner?.get(chain))?.flatMap((rule) => nftFates(rule, packet, family))
    return [
      {
        closedFor: (packet) => closedAt(entry, policy, fates(packet)),
        where: ({ drop }) => (drop === undefined ? `the policy of chain ${name}` : `chain ${table} ${drop.chain}`),
        command: ({ side, device }) =>
          table === 'inet firewalld'
            ? `firewall-cmd --permanent --zone=trusted --add-interface=${device} && firewall-cmd --reload`
            : `nft insert rule ${name} ${side === 'in' ? 'iifname' : 'oifname'} ${device} accept`,
      },
    ]
  })
}

/** What comes in by a device is forwarded only where its own setting says so, too; a new device has what `default` says. */
export async function forwardingObstacles({ device, instead }: Arrival): Promise<readonly Obstacle[]> {
  const setting = await forwardingOf(device)
  if (setting === '1' || (await forwardingOf(instead)) === '0') return []
  if (setting === undefined) return [{ text: `${device} is not there yet`, command: '' }]
  const name = `net.ipv4.conf.${device.replaceAll('.', '/')}.forwarding`
  return [
    {
      text: `${name} is 0: nothing that comes in by ${device} is forwarded to containers`,
      command: `sysctl -w ${name}=1`,
    },
  ]
}

async function forwardingOf(device: string): Promise<string | undefined> {
  const text = await readFile(`/proc/sys/net/ipv4/conf/${device}/forwarding`, 'utf8').catch(() => undefined)
  return text?.trim()
}
