import type { Cidr, Family } from '../../lib/address.ts'
import type { IptablesWorld } from '../rules/iptables-words.ts'
import { type OuterPacket, tunnelName } from './packet-fate.ts'

/** Packets of ours about which rules of other programs decide, too: does one of these drop them? */
export interface PacketPath {
  readonly hook: 'forward' | 'postrouting' | 'input'
  readonly family: Family
  readonly network: Cidr
  /** With `input`: the packets that a tunnel comes in by. */
  readonly outer?: OuterPacket
  /** With `forward`: packets of peers' containers, as far as they come in by a device by which they have not come before. */
  readonly arrival?: Arrival
}

export interface Arrival {
  readonly device: string
  /** By which they come now. What keeps them out there as well is no fault of the other device. */
  readonly instead: string
  /** The own subnet. */
  readonly to: Cidr
}

/** A rule of another program that drops packets of a path, or decides about them before ours can. */
export interface Obstacle {
  /** Where it stands and what it does. */
  readonly text: string
  /** What would open the way; empty where only its owner can know. */
  readonly command: string
  /** A policy, which is asked after the rules: those of ours in this world of iptables open it as soon as they stand. */
  readonly policyOf?: IptablesWorld
}

/** As conditions have called it since the first version. */
export function nameOfPath({ family, hook, outer, arrival, network }: PacketPath): string {
  return `clear-path IPv${family} ${hook} ${outer ? tunnelName(outer) : (arrival?.device ?? network)}`
}

export function obstacleText({ text, command }: Obstacle): string {
  return command === '' ? text : `${text}; open it with: ${command}`
}
