import type { Kernel } from '../../kernel/kernel.ts'
import type { PacketPath } from '../../kernel/obstacles/packet-path.ts'
import type { Reconciler } from '../../kernel/reconciler/reconciler.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import { chooseTraffic, movedRules, type TrafficWish } from '../host/traffic-choice.ts'
import type { ConditionSet } from '../status/status.ts'
import { ObstacleWatch } from './obstacle-watch.ts'
import type { NodePlan } from './planner.ts'
import type { TrafficOptions } from './traffic-rules.ts'

interface TrafficNeeds {
  readonly kernel: Kernel
  readonly reconciler: Pick<Reconciler, 'passes'>
  readonly conditions: ConditionSet
  readonly lifecycle: Lifecycle
  readonly clock: Clock
  readonly log: Logger
  readonly packetPaths: () => readonly PacketPath[]
}

/** Nothing is said of rules: for a plan that is made before it is known where they go. */
export function undecided(wish: TrafficWish): TrafficOptions {
  return { ...wish, masquerade: false, forward: false, tool: 'iptables', world: 'nft' }
}

/**
 * What may be done while a slow program keeps the rules waiting: peers, but no subnet.env, by which others take the node for
 * ready, and no removal, because rules that are there may be wanted.
 */
export function withoutRules({ desired, ...plan }: NodePlan, subnetFile: string): NodePlan {
  const files = [...desired.objects].flatMap(([key, object]) =>
    object.kind === 'file' && object.path === subnetFile ? [key] : [],
  )
  return { ...plan, desired: { ...desired, objects: desired.objects.patched(new Set(files), []), complete: false } }
}

/** Decides where rules go, says so, and follows what others do to them from now on. */
export async function startTraffic(
  needs: TrafficNeeds,
  { traffic: wish, resyncMs }: { readonly traffic: TrafficWish; readonly resyncMs: number },
  network: NetworkConfig,
): Promise<TrafficOptions> {
  const { kernel, reconciler, conditions, lifecycle, clock, log } = needs
  const { sets, monitor, obstacles } = kernel.rules
  const { options, reason, conditions: found } = await chooseTraffic(sets, wish, network.nftables)
  const watch = new ObstacleWatch({ reader: obstacles, monitor, conditions, clock, paths: needs.packetPaths })
  lifecycle.run('rules of others', (stop) => watch.run(reconciler.passes, stop))
  conditions.replace('traffic rules', found)
  if (wish.masquerade || wish.forward) {
    const tool = options.tool === 'nftables' ? 'nft' : `iptables-${options.world}`
    log.info('traffic rules chosen', { tool, why: reason, masquerade: wish.masquerade, forward: wish.forward })
  }
  if (wish.masquerade || wish.forward) {
    // Nobody tells of changes in the legacy tables; a host that has none is asked without starting a program.
    lifecycle.run('iptables resync', async (stop) => {
      let began = clock.now()
      for (;;) {
        // What was done last time is a part of the period.
        await clock.sleep(Math.max(0, began + resyncMs - clock.now()), stop)
        began = clock.now()
        if (!(await sets.legacyChanged([...network.families.keys()], options.world === 'legacy'))) continue
        const now = await chooseTraffic(sets, wish, network.nftables)
        const moved = options.tool === 'iptables' ? movedRules(options.world, now.options.world) : []
        conditions.replace('traffic rules', [...now.conditions, ...moved])
      }
    })
  }
  return options
}
