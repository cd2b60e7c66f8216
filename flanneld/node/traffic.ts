import { isDeepStrictEqual } from 'node:util'
import type { Kernel } from '../../kernel/kernel.ts'
import type { PacketMark } from '../../kernel/obstacles/docker-forward.ts'
import { OpFailure } from '../../kernel/table.ts'
import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import { chooseTraffic, chooseWorld, movedRules, type WantedTraffic } from '../host/traffic-choice.ts'
import type { ConditionSet } from '../status/status.ts'
import type { NodePlan } from './planner.ts'
import type { TrafficOptions } from './traffic-rules.ts'

/** The kernel is asked whether any rule has changed, and a program started only where Docker has a table. */
const DOCKER_MS = 2_000

/** What was read of the host's rules so long ago counts no more: others start beside this daemon. */
const NEW_MS = 5_000

interface TrafficNeeds {
  readonly sets: Kernel['rules']['sets']
  readonly obstacles: Pick<Kernel['rules']['obstacles'], 'dockerMark'>
  readonly conditions: ConditionSet
  readonly clock: Clock
  readonly log: Logger
}

/** Nothing is said of rules: for a plan that is made before it is known where they go. */
export function undecided(wanted: WantedTraffic): TrafficOptions {
  return { ...wanted, masquerade: false, forward: false, tool: 'iptables', world: 'nft' }
}

/**
 * What may be done while a slow program keeps the rules waiting, or the own lease may have expired: peers, but neither subnet.env nor a conflist, by
 * which others take the node for ready, and no removal, because rules that are there may be wanted.
 */
export function withoutFiles({ desired, ...plan }: NodePlan): NodePlan {
  const files = [...desired.objects].flatMap(([key, object]) => (object.kind === 'file' ? [key] : []))
  return { ...plan, desired: { ...desired, objects: desired.objects.patched(new Set(files), []), complete: false } }
}

/** Where the rules of this node go: decided for each network configuration that says something else about it. */
export class TrafficChoice {
  readonly changes = new Latest<TrafficOptions>('where rules go')
  readonly #needs: TrafficNeeds
  readonly #options: { readonly traffic: WantedTraffic; readonly resyncMs: number }
  readonly #network = new Latest<NetworkConfig>('network of the rules')

  constructor(needs: TrafficNeeds, options: { readonly traffic: WantedTraffic; readonly resyncMs: number }) {
    this.#needs = needs
    this.#options = options
  }

  want(network: NetworkConfig): void {
    if (network !== this.#network.current) this.#network.set(network)
  }

  /** Decides and says so. Until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { sets, conditions, log, clock } = this.#needs
    const { traffic: wanted } = this.#options
    const began = clock.now()
    // It does not depend on the network, and its programs answer while that, and the leases, are on their way.
    const atStart = chooseWorld(sets, wanted)
    let nftables: boolean | undefined
    for await (const network of this.#network.watch(signal)) {
      if (network.nftables === nftables) continue
      const isNew = clock.now() - began < NEW_MS
      const choice = await (isNew ? atStart : chooseWorld(sets, wanted))
      const { options, reason, conditions: found } = chooseTraffic(choice, wanted, network.nftables)
      nftables = network.nftables
      conditions.replace('traffic rules', found)
      if (this.#isAsked) {
        const tool = options.tool === 'nftables' ? 'nft' : `iptables-${options.world}`
        log.info('traffic rules chosen', { tool, why: reason, masquerade: wanted.masquerade, forward: wanted.forward })
      }
      const dockerMark = await this.#dockerMark()
      this.changes.set(dockerMark === undefined ? options : { ...options, dockerMark })
    }
  }

  /**
   * Follows the mark that Docker takes with its rules of nftables. One that was seen stays until there is another: each start of Docker makes
   * its table anew, and for a moment without. Until the signal is aborted.
   */
  async followDocker(signal: AbortSignal): Promise<void> {
    if (!this.#options.traffic.forward) return
    for (;;) {
      await this.#needs.clock.sleep(DOCKER_MS, signal)
      const options = this.changes.current
      if (options === undefined) continue
      const dockerMark = await this.#dockerMark()
      if (dockerMark === undefined || isDeepStrictEqual(dockerMark, options.dockerMark)) continue
      this.changes.set({ ...options, dockerMark })
    }
  }

  async #dockerMark(): Promise<PacketMark | undefined> {
    if (!this.#options.traffic.forward) return undefined
    try {
      return await this.#needs.obstacles.dockerMark()
    } catch (cause) {
      // What cannot be read is said where rules of ours are concerned.
      if (cause instanceof OpFailure) return this.changes.current?.dockerMark
      throw cause
    }
  }

  /** Asks whether the legacy tables have changed; a host that has none is asked without starting a program. Until the signal is aborted. */
  async resync(signal: AbortSignal): Promise<void> {
    const { sets, conditions, clock } = this.#needs
    if (!this.#isAsked) return
    for (let began = clock.now(); ; ) {
      // What was done last time is a part of the period.
      await clock.sleep(Math.max(0, began + this.#options.resyncMs - clock.now()), signal)
      began = clock.now()
      const [network, options] = [this.#network.current, this.changes.current]
      if (network === undefined || options === undefined) continue
      if (!(await sets.legacyChanged([...network.families.keys()], options.world === 'legacy'))) continue
      const { traffic: wanted } = this.#options
      const now = chooseTraffic(await chooseWorld(sets, wanted), wanted, network.nftables)
      const moved = options.tool === 'iptables' ? movedRules(options.world, now.options.world) : []
      conditions.replace('traffic rules', [...now.conditions, ...moved])
    }
  }

  get #isAsked(): boolean {
    const { masquerade, forward } = this.#options.traffic
    return masquerade || forward
  }
}
