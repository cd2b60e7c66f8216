import { type IpAddr, type MacAddr, parseMac } from '../../lib/address.ts'
import { isOurNumber } from '../kinds/nexthop/kind.ts'
import type { KernelObject, Link } from '../objects.ts'
import type { KernelEvent } from '../table.ts'
import { isKernelMade, parseAddress } from './address-messages.ts'
import {
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELNEXTHOP,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWNETCONF,
  RTM_NEWNEXTHOP,
  RTM_NEWROUTE,
} from './constants.ts'
import type { DeviceIndex } from './device-index.ts'
import { type LinkRecord, linkOf, parseLink } from './link-messages.ts'
import type { Message } from './message.ts'
import {
  fdbOf,
  type NeighbourRecord,
  neighbourOf,
  parseNeighbour,
  type Resolution,
  resolutionOf,
} from './neighbour-messages.ts'
import { parseNetconf } from './netconf-messages.ts'
import { type NexthopIds, nexthopOf } from './nexthop-ids.ts'
import { parseNexthop } from './nexthop-messages.ts'
import { parseRoute, routeOf } from './route-messages.ts'

/** What the kernel knows of a neighbour by now. */
export interface NeighbourStateEvent {
  readonly device: string
  readonly address: IpAddr
  readonly state: Resolution
  readonly mac: MacAddr | undefined
}

/** A key needs no hardware address, and the kernel no longer tells it of an entry that it forgot. */
const NO_MAC = parseMac('00:00:00:00:00:00') as MacAddr
const IF_OPER_UNKNOWN = 0
const IF_OPER_UP = 6

/** Turns notifications of rtnetlink into events; the objects are the same as in a dump. */
export class EventReader {
  readonly #devices: DeviceIndex
  readonly #nexthops: NexthopIds
  readonly #ownPort: number
  // The kernel repeats a link message for much that concerns nobody here. The device index will not do as the memory: a dump may
  // have brought it up to date before the event was read, and the event would look like no change.
  readonly #links = new Map<number, string>()

  constructor(needs: { devices: DeviceIndex; nexthops: NexthopIds; ownPort: number }) {
    this.#devices = needs.devices
    this.#nexthops = needs.nexthops
    this.#ownPort = needs.ownPort
  }

  /** The devices as somebody is about to read them: what repeats this is no change. */
  learn(records: readonly LinkRecord[]): void {
    for (const record of records) this.#links.set(record.index, looksOf(record, this.#linkOf(record)))
  }

  /** Events were lost: every link message counts as a change again. */
  forget(): void {
    this.#links.clear()
    this.#devices.inMaking.clear()
  }

  /** @throws MalformedMessage */
  read(message: Message, events: KernelEvent[], onState: ((event: NeighbourStateEvent) => void) | undefined): void {
    const own = message.port === this.#ownPort
    switch (message.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        this.#readLink(message, own, events)
        return
      case RTM_NEWNEIGH:
      case RTM_DELNEIGH:
        // Entries of a forwarding database are not told as ours.
        if (!own) this.#readNeighbour(message, events, onState)
        return
      case RTM_NEWADDR:
      case RTM_DELADDR:
        if (!own) push(events, message.type === RTM_NEWADDR, this.#addressOf(message))
        return
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        // The mirror has our own changes from the kernel's verdicts.
        if (!own) push(events, message.type === RTM_NEWROUTE, this.#routeOf(message))
        return
      case RTM_NEWNEXTHOP:
      case RTM_DELNEXTHOP:
        if (!own) this.#readNexthop(message, events)
        return
      case RTM_NEWNETCONF:
        // `sysctl --system` of a package that is installed, or a hand: the next look at what has no events may be half a minute away.
        for (const sysctl of parseNetconf(message, (index) => this.#devices.nameOf(index))) push(events, true, sysctl)
        return
      default:
    }
  }

  #readLink(message: Message, own: boolean, events: KernelEvent[]): void {
    const record = parseLink(message)
    if (record === undefined) return
    const link = this.#linkOf(record)
    if (message.type === RTM_DELLINK) {
      this.#devices.delete(record.index)
      this.#links.delete(record.index)
      if (own) return
      events.push({ type: 'device', name: record.name }, { type: 'object', present: false, object: link })
      return
    }
    const nameBefore = this.#devices.nameOf(record.index)
    this.#devices.set(record)
    const looks = looksOf(record, link)
    const before = this.#links.get(record.index)
    this.#links.set(record.index, looks)
    const { inMaking } = this.#devices
    const isMade = inMaking.has(record.name)
    if (link.up) inMaking.delete(record.name)
    if (own || isMade || looks === before) return
    if (nameBefore !== undefined && nameBefore !== record.name) events.push({ type: 'device', name: nameBefore })
    events.push({ type: 'device', name: record.name }, { type: 'object', present: true, object: link })
  }

  #readNeighbour(
    message: Message,
    events: KernelEvent[],
    onState: ((event: NeighbourStateEvent) => void) | undefined,
  ): void {
    const record = parseNeighbour(message)
    const device = record === undefined ? undefined : this.#devices.nameOf(record.index)
    if (record === undefined || device === undefined) return
    const added = message.type === RTM_NEWNEIGH
    if (record.family === 'bridge') {
      push(events, added, fdbOf(record, device))
      return
    }
    const { address, mac } = record
    if (address === undefined) return
    const neighbour = added ? neighbourOf(record, device) : undefined
    push(events, neighbour !== undefined, neighbour ?? forgotten(record, device, address))
    if (added) onState?.({ device, address, state: resolutionOf(record), mac })
  }

  #readNexthop(message: Message, events: KernelEvent[]): void {
    const record = parseNexthop(message)
    const nexthop = nexthopOf(record, this.#devices.nameOf(record.gateway?.index ?? 0))
    if (nexthop !== undefined && nexthop.id === undefined) {
      push(events, message.type === RTM_NEWNEXTHOP, nexthop)
      // Somebody else's object bears a number of ours, or one of ours another number: whose place it has taken is not said.
    } else if (nexthop !== undefined || isOurNumber(record.id)) {
      events.push({ type: 'kinds', kinds: ['nexthop', 'route'] })
    }
  }

  #linkOf(record: LinkRecord): Link {
    return linkOf(record, (index) => this.#devices.nameOf(index))
  }

  #addressOf(message: Message): KernelObject | undefined {
    const record = parseAddress(message)
    const device = record === undefined ? undefined : this.#devices.nameOf(record.index)
    if (record === undefined || device === undefined || isKernelMade(record)) return undefined
    return { kind: 'address', device, family: record.family, address: record.address, length: record.length }
  }

  #routeOf(message: Message): KernelObject | undefined {
    const record = parseRoute(message)
    return record && routeOf(record, this.#devices.nameOf(record.index), this.#nexthops)
  }
}

function push(events: KernelEvent[], present: boolean, object: KernelObject | undefined): void {
  if (object !== undefined) events.push({ type: 'object', present, object })
}

// Deleted, or no longer permanent: in both cases a dump would not list it.
function forgotten(record: NeighbourRecord, device: string, address: IpAddr): KernelObject | undefined {
  if (record.family === 'bridge') return undefined
  return { kind: 'neighbour', family: record.family, device, address, mac: record.mac ?? NO_MAC }
}

/** All of a device that anybody here looks at; software devices stay at "unknown", which is as good as up. */
function looksOf(record: LinkRecord, link: Link): string {
  const running = record.operState === IF_OPER_UNKNOWN || record.operState === IF_OPER_UP
  return `${running} ${JSON.stringify(link)}`
}
