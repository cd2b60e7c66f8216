import { type Clock, systemClock } from '../lib/clock.ts'
import { HostKernel } from './host.ts'
import { openTables } from './kinds/tables.ts'
import { MONITOR_GROUPS, Monitor } from './monitor.ts'
import { NetlinkChannel } from './netlink/channel.ts'
import { DeviceIndex } from './netlink/device-index.ts'
import { openGenericNetlink } from './netlink/generic.ts'
import { NexthopIds } from './netlink/nexthop-ids.ts'
import { openNetlinkSocket } from './netlink/socket.ts'
import { NETLINK_SOCK_DIAG } from './netlink/socket-messages.ts'
import { type OpenRules, openRules } from './rules/open-rules.ts'
import { HostSockets } from './sockets.ts'
import type { ObjectTable, OpFailure } from './table.ts'

/** The kernel of the network namespace that the calling thread is in. */
export interface Kernel {
  /** One of each kind. */
  readonly tables: readonly ObjectTable[]
  readonly monitor: Monitor
  readonly host: HostKernel
  readonly rules: OpenRules
  readonly sockets: HostSockets
  close(): void
}

export interface KernelOptions {
  /** Bytes of events that may wait for the monitor. */
  readonly eventQueueBytes?: number
  readonly clock?: Clock
  /** Called with each list of the kernel's that changed too often to be read as a whole. */
  readonly onUnsteady?: (failure: OpFailure) => void
}

const ANSWER_QUEUE_BYTES = 1 << 20
const EVENT_QUEUE_BYTES = 8 << 20

/** The monitor receives events from here on, so that no change falls between the first dump and its start. @throws OpFailure */
export async function createKernel(options: KernelOptions = {}): Promise<Kernel> {
  const socket = openNetlinkSocket({ queueBytes: ANSWER_QUEUE_BYTES })
  const events = openNetlinkSocket({
    queueBytes: options.eventQueueBytes ?? EVENT_QUEUE_BYTES,
    groups: MONITOR_GROUPS,
  })
  const generic = openGenericNetlink()
  const clock = options.clock ?? systemClock
  const rules = openRules(clock)
  const channel = new NetlinkChannel({ socket, onUnsteady: options.onUnsteady })
  const devices = new DeviceIndex({ channel })
  const nexthops = new NexthopIds()
  const needs = { channel, devices, nexthops, generic }
  const tables = openTables({ ...needs, rules, clock })
  const monitor = new Monitor({ socket: events, devices, nexthops, ownPort: socket.port })
  monitor.learn(await devices.refresh())
  return {
    tables: Object.values(tables),
    monitor,
    host: new HostKernel(needs),
    rules,
    sockets: new HostSockets({
      open: () => openNetlinkSocket({ protocol: NETLINK_SOCK_DIAG, queueBytes: ANSWER_QUEUE_BYTES }),
    }),
    close() {
      rules.close()
      events.close()
      socket.close()
      generic?.close()
    },
  }
}
