import { MalformedMessage } from './netlink/attributes.ts'
import type { DeviceIndex } from './netlink/device-index.ts'
import { EventReader, type NeighbourStateEvent } from './netlink/event-reader.ts'
import type { LinkRecord } from './netlink/link-messages.ts'
import { eachMessage } from './netlink/message.ts'
import type { NexthopIds } from './netlink/nexthop-ids.ts'
import { EINTR, ENOBUFS, type NetlinkSocket } from './netlink/socket.ts'
import type { KernelEvent } from './table.ts'

/** Several events at once: a burst is one array. */
export type EventListener = (events: readonly KernelEvent[]) => void
/** Also of neighbours that the kernel resolves by itself, on every device. */
export type NeighbourListener = (event: NeighbourStateEvent) => void

/** RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, IPV4_NETCONF, NEXTHOP: what a monitor's socket must receive. */
export const MONITOR_GROUPS = [1, 3, 5, 7, 9, 11, 24, 32] as const
/** Datagrams read before the event loop has its turn again. */
const BURST = 1024

/**
 * Receives what happens in the kernel, from the moment it is made; nothing is delivered before `start`. The loop of node waits
 * for the socket, so no thread is parked. When the queue overflows, the kernel drops events and says so: `overrun`.
 */
export class Monitor {
  readonly #socket: NetlinkSocket
  readonly #reader: EventReader
  readonly #buffer = new Uint8Array(64 * 1024)
  readonly #view = new DataView(this.#buffer.buffer)

  /** `socket` receives `MONITOR_GROUPS`. `ownPort` is our channel's: what was changed through it is no event. */
  constructor(needs: { socket: NetlinkSocket; devices: DeviceIndex; nexthops: NexthopIds; ownPort: number }) {
    this.#socket = needs.socket
    this.#reader = new EventReader(needs)
  }

  /** Takes the devices that were read after the monitor was made and before anything else was. */
  learn(links: readonly LinkRecord[]): void {
    this.#reader.learn(links)
  }

  start(onEvents: EventListener, onNeighbourState?: NeighbourListener): void {
    this.#socket.watch(() => {
      this.#drain(onEvents, onNeighbourState)
      return undefined
    })
  }

  #drain(onEvents: EventListener, onState: NeighbourListener | undefined): void {
    const events: KernelEvent[] = []
    for (let count = 0; count < BURST; count += 1) {
      const length = this.#socket.receive(this.#buffer)
      if (length === -EINTR) continue
      if (length >= 0) {
        if (!this.#read(length, events, onState)) this.#overrun(events)
      } else if (length === -ENOBUFS) {
        this.#overrun(events)
      } else break
    }
    if (events.length > 0) onEvents(events)
  }

  /** False: cut off or unreadable, so that something was missed. */
  #read(length: number, events: KernelEvent[], onState: NeighbourListener | undefined): boolean {
    try {
      eachMessage(this.#view, length, (message) => this.#reader.read(message, events, onState))
      return true
    } catch (cause) {
      if (cause instanceof MalformedMessage) return false
      throw cause
    }
  }

  #overrun(events: KernelEvent[]): void {
    this.#reader.forget()
    events.push({ type: 'overrun' })
  }
}
