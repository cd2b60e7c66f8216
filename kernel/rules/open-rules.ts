import type { Clock } from '../../lib/clock.ts'
import { readSysctl } from '../kinds/sysctl/table.ts'
import { NetlinkChannel } from '../netlink/channel.ts'
import { NETLINK_NETFILTER, NFTABLES_GROUP } from '../netlink/nftables-messages.ts'
import { type NetlinkSocket, openNetlinkSocket } from '../netlink/socket.ts'
import { ObstacleReader } from '../obstacles/obstacle-reader.ts'
import { OpFailure } from '../table.ts'
import { Connections } from './connections.ts'
import { GuardKernel } from './guard-kernel.ts'
import { Netfilter } from './netfilter.ts'
import { RuleMonitor } from './rule-monitor.ts'
import { RuleSets } from './rule-sets.ts'

/** The packet filters of the calling thread's network namespace. */
export interface OpenRules {
  readonly sets: RuleSets
  readonly guard: GuardKernel
  readonly obstacles: ObstacleReader
  readonly monitor: RuleMonitor
  readonly connections: Connections
  close(): void
}

const ANSWER_QUEUE_BYTES = 1 << 20
/** A busy kube-proxy rewrites thousands of rules at once; kernel memory, used only while they wait. */
const EVENT_QUEUE_BYTES = 8 << 20

/** Changes are received from here on, so that none falls between the first reading and the first who watches. */
export function openRules(clock: Clock): OpenRules {
  const socket = openNetfilter(ANSWER_QUEUE_BYTES, [])
  const events = openNetfilter(EVENT_QUEUE_BYTES, [NFTABLES_GROUP])
  const channel = socket && new NetlinkChannel({ socket })
  const netfilter = new Netfilter({ channel })
  const monitor = new RuleMonitor({ socket: events, clock, ownPort: socket?.port ?? 0 })
  const sets = new RuleSets({ netfilter, monitor })
  const guard = new GuardKernel({ netfilter, channel })
  return {
    sets,
    guard,
    obstacles: new ObstacleReader({ sets }),
    monitor,
    connections: new Connections({ open: () => openNetfilter(ANSWER_QUEUE_BYTES, []), sysctl: readSysctl }),
    close() {
      monitor.close()
      socket?.close()
    },
  }
}

// Not every kernel speaks to packet filters: where rules are wanted the tools will say why they cannot be had.
function openNetfilter(queueBytes: number, groups: readonly number[]): NetlinkSocket | undefined {
  try {
    return openNetlinkSocket({ protocol: NETLINK_NETFILTER, queueBytes, groups })
  } catch (cause) {
    if (cause instanceof OpFailure) return undefined
    throw cause
  }
}
