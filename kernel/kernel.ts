import { type Clock, systemClock } from '../lib/clock.ts'
import { HostKernel } from './host.ts'
import { AddressTable } from './kinds/address/table.ts'
import { FdbTable } from './kinds/fdb/table.ts'
import { FileTable } from './kinds/file/table.ts'
import { FouPortTable } from './kinds/fou-port/table.ts'
import { GuardChainsTable } from './kinds/guard-chains/table.ts'
import { GuardPeersTable } from './kinds/guard-peer/table.ts'
import { GuardSetsTable } from './kinds/guard-sets/table.ts'
import { IptablesTable } from './kinds/iptables-chain/table.ts'
import { LinkTable } from './kinds/link/table.ts'
import { NeighbourTable } from './kinds/neighbour/table.ts'
import { NftablesTable } from './kinds/nft-table/table.ts'
import { RouteTable } from './kinds/route/table.ts'
import { SysctlTable } from './kinds/sysctl/table.ts'
import { MONITOR_GROUPS, Monitor } from './monitor.ts'
import { NetlinkChannel } from './netlink/channel.ts'
import { DeviceIndex } from './netlink/device-index.ts'
import { openGenericNetlink } from './netlink/generic.ts'
import { openNetlinkSocket } from './netlink/socket.ts'
import { type OpenRules, openRules } from './rules/open-rules.ts'
import type { ObjectTable, OpFailure } from './table.ts'

/** The kernel of the network namespace that the calling thread is in. */
export interface Kernel {
  /** One of each kind. */
  readonly tables: readonly ObjectTable[]
  readonly monitor: Monitor
  readonly host: HostKernel
  readonly rules: OpenRules
  readonly fouPorts: FouPortTable
  close(): void
}

export interface KernelOptions {
  /** Bytes of events that may wait for the monitor. */
  readonly eventQueueBytes?: number
  readonly clock?: Clock
  /** Hears of each list of the kernel's that changed too often to be read as a whole. */
  readonly onUnsteady?: (told: OpFailure) => void
}

const ANSWER_QUEUE_BYTES = 1 << 20
const EVENT_QUEUE_BYTES = 8 << 20

/** The monitor hears from here on, so that no change falls between the first dump and its start. @throws OpFailure */
export async function createKernel(options: KernelOptions = {}): Promise<Kernel> {
  const socket = openNetlinkSocket({ queueBytes: ANSWER_QUEUE_BYTES })
  const events = openNetlinkSocket({
    queueBytes: options.eventQueueBytes ?? EVENT_QUEUE_BYTES,
    groups: MONITOR_GROUPS,
  })
  const generic = openGenericNetlink()
  const fouPorts = new FouPortTable({ generic })
  const rules = openRules(options.clock ?? systemClock)
  const channel = new NetlinkChannel({ socket, onUnsteady: options.onUnsteady })
  const devices = new DeviceIndex({ channel })
  const needs = { channel, devices }
  const monitor = new Monitor({ socket: events, devices, ownPort: socket.port })
  monitor.learn(await devices.refresh())
  return {
    tables: [
      fouPorts,
      new LinkTable(needs),
      new AddressTable(needs),
      new GuardSetsTable(rules),
      new GuardPeersTable(rules),
      new RouteTable(needs),
      new NeighbourTable(needs),
      new FdbTable(needs),
      new SysctlTable(),
      new IptablesTable(rules),
      new NftablesTable(rules),
      new GuardChainsTable(rules),
      new FileTable(),
    ],
    monitor,
    host: new HostKernel({ ...needs, generic }),
    rules,
    fouPorts,
    close() {
      rules.close()
      events.close()
      socket.close()
      generic?.close()
    },
  }
}
