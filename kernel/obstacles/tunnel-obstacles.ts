import { programName } from '../rules/iptables-words.ts'
import { nftFamily } from '../rules/nft-text.ts'
import { readTarget } from './foreign-rule.ts'
import type { ForeignChain, ForeignRules } from './foreign-rules.ts'
import { iptablesMatches } from './iptables-match.ts'
import { nftFates } from './nft-match.ts'
import { closedAt, type OuterPacket, tunnelName } from './packet-fate.ts'
import type { Obstacle, PacketPath } from './packet-path.ts'

/** What keeps the outer packets of a tunnel from this host, and the command that lets them in, in its owner's words. */
export function tunnelObstacles(path: PacketPath, packet: OuterPacket, foreign: ForeignRules): readonly Obstacle[] {
  const { family } = path
  const found: Obstacle[] = []
  for (const { world, rules } of foreign.iptables) {
    const filter = rules.get('filter')
    const input = filter?.get('INPUT')
    if (filter === undefined || input === undefined) continue
    const program = programName({ world, family })
    const closed = closedAt('INPUT', input.policy === 'DROP' ? 'drop' : 'accept', (name) =>
      filter
        .get(name)
        ?.rules.map((rule) => ({ matches: iptablesMatches(rule, packet, family), verdict: readTarget(rule, filter) })),
    )
    if (closed === undefined) continue
    const { drop, passed } = closed
    const rule = filter.get(drop?.chain ?? '')?.rules[(drop?.rule ?? 0) - 1]
    const where =
      drop === undefined ? `the policy of ${program} INPUT` : `rule ${drop.rule} of ${program} ${drop.chain} (${rule})`
    found.push({ text: closes(where, packet), command: iptablesCommand(program, passed, packet) })
  }
  for (const chain of foreign.chains) {
    const { name, policy } = chain
    const table = name.slice(0, name.lastIndexOf(' '))
    const entry = name.slice(table.length + 1)
    const closed = closedAt(entry, policy, (inner) =>
      rulesOf(chain, inner === entry ? undefined : inner)?.flatMap((rule) => nftFates(rule, packet, family)),
    )
    if (closed === undefined) continue
    const where = closed.drop === undefined ? `the policy of chain ${name}` : `chain ${table} ${closed.drop.chain}`
    const opening = `nft insert rule ${name} ${packetWords(packet, nftFamily(family))} accept`
    found.push({ text: closes(where, packet), command: table === 'inet firewalld' ? firewalld(packet) : opening })
  }
  return found
}

function rulesOf({ rules, inner }: ForeignChain, name: string | undefined) {
  return name === undefined ? rules : inner?.get(name)
}

function closes(where: string, packet: OuterPacket): string {
  return `${where} closes ${tunnelName(packet)}, by which packets of peers come in`
}

function iptablesCommand(program: string, passed: ReadonlySet<string>, packet: OuterPacket): string {
  const names = [...passed]
  if (names.some((name) => /^IN(PUT)?_/.test(name))) return firewalld(packet)
  // It has no word for ipip.
  if (packet.protocol === 'udp' && names.some((name) => name.startsWith('ufw'))) return `ufw allow ${packet.port}/udp`
  return `${program} -I INPUT ${packet.protocol === 'udp' ? `-p udp --dport ${packet.port}` : '-p 4'} -j ACCEPT`
}

function firewalld(packet: OuterPacket): string {
  const what = packet.protocol === 'udp' ? `--add-port=${packet.port}/udp` : '--add-protocol=ipencap'
  return `firewall-cmd --permanent ${what} && firewall-cmd --reload`
}

function packetWords({ protocol, port }: OuterPacket, ip: 'ip' | 'ip6'): string {
  return protocol === 'udp' ? `udp dport ${port}` : `${ip} protocol 4`
}
