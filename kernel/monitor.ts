import {
  AF_NETLINK,
  bindSocket,
  closeDescriptor,
  MSG_DONTWAIT,
  MSG_TRUNC,
  openSocket,
  receiveBytes,
  SOCK_RAW,
  setIntegerOption,
  watchReadable,
} from './ffi/libc.ts'
import { LITTLE, MalformedMessage } from './netlink/attributes.ts'
import type { DeviceIndex } from './netlink/device-index.ts'
import { EventReader, type NeighbourStateEvent } from './netlink/event-reader.ts'
import { errorOf } from './netlink/kernel-error.ts'
import type { LinkRecord } from './netlink/link-messages.ts'
import { eachMessage } from './netlink/message.ts'
import { type KernelEvent, OpFailure } from './table.ts'

/** Several events at once: a burst is one array. */
export type EventListener = (events: readonly KernelEvent[]) => void
/** Also of neighbours that the kernel resolves by itself, on every device. */
export type NeighbourListener = (event: NeighbourStateEvent) => void

export interface MonitorOptions {
  /** Bytes of the socket's queue. Kernel memory, used only while events wait. */
  readonly queueBytes?: number
}

const NETLINK_ROUTE = 0
const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_RCVBUFFORCE = 33
const EINTR = 4
const ENOBUFS = 105
const QUEUE_BYTES = 8 << 20
/** RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE as bits. */
const GROUPS = [1, 3, 5, 7, 9, 11].reduce((mask, group) => mask | (1 << (group - 1)), 0)
/** Datagrams read before the event loop has its turn again. */
const BURST = 1024

/**
 * Hears what happens in the kernel, from the moment it is made; nothing is delivered before `start`. The loop of node waits
 * for the socket, so no thread is parked. When the queue overflows, the kernel drops events and says so: `overrun`.
 */
export class Monitor {
  readonly #fd: number
  readonly #reader: EventReader
  readonly #buffer = new Uint8Array(64 * 1024)
  readonly #view = new DataView(this.#buffer.buffer)
  #watch: { close(): void } | undefined
  #closed = false

  /** `ownPort` is our channel's: what was changed through it is no event. @throws OpFailure */
  constructor(needs: { devices: DeviceIndex; ownPort: number }, options: MonitorOptions = {}) {
    this.#reader = new EventReader(needs)
    this.#fd = openSocket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    if (this.#fd < 0) throw new OpFailure(errorOf(-this.#fd))
    const bytes = options.queueBytes ?? QUEUE_BYTES
    const forced = setIntegerOption(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes)
    if (forced < 0) setIntegerOption(this.#fd, SOL_SOCKET, SO_RCVBUF, bytes)
    const address = new Uint8Array(12)
    new DataView(address.buffer).setUint16(0, AF_NETLINK, LITTLE)
    new DataView(address.buffer).setUint32(8, GROUPS, LITTLE)
    const bound = bindSocket(this.#fd, address)
    if (bound >= 0) return
    closeDescriptor(this.#fd)
    throw new OpFailure(errorOf(-bound))
  }

  /** Tells the devices that were read after the monitor was made and before anything else was. */
  learn(links: readonly LinkRecord[]): void {
    this.#reader.learn(links)
  }

  start(onEvents: EventListener, onNeighbourState?: NeighbourListener): void {
    if (this.#closed || this.#watch !== undefined) throw new TypeError('a monitor is started once')
    this.#watch = watchReadable(this.#fd, () => this.#drain(onEvents, onNeighbourState))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch?.close()
    closeDescriptor(this.#fd)
  }

  #drain(onEvents: EventListener, onState: NeighbourListener | undefined): void {
    const events: KernelEvent[] = []
    for (let count = 0; count < BURST; count += 1) {
      const length = receiveBytes(this.#fd, this.#buffer, MSG_DONTWAIT | MSG_TRUNC)
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
