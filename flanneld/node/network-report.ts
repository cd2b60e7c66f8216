import { unmetRequirements } from '../../kernel/reconciler/settlement.ts'
import { Alarm } from '../../lib/alarm.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Source } from '../../lib/latest.ts'
import { runTogether } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import { OTHERS_UNKNOWN } from '../status/node-conditions.ts'
import type { Agent } from './agent.ts'

/** A condition of a Node, as the API has it. */
export interface NodeCondition {
  readonly type: 'NetworkUnavailable'
  readonly status: 'True' | 'False'
  readonly lastHeartbeatTime: string
  readonly lastTransitionTime: string
  readonly reason: string
  readonly message: string
}

/** Whether Kubernetes believes that this host's network works; others may write it, too. */
export interface NodeNetwork {
  /** Whenever `status` may have changed. */
  readonly changes: Source<unknown>
  /** Of the condition NetworkUnavailable, if there is one; undefined: there is no Node. */
  status(): { readonly status: string | undefined } | undefined
  set(condition: NodeCondition, signal: AbortSignal): Promise<void>
}

export interface ReportNeeds {
  readonly agent: Pick<Agent, 'changes' | 'notReady' | 'isAlone'> & {
    readonly reconciler: Pick<Agent['reconciler'], 'failures'>
  }
  readonly node: NodeNetwork
  readonly clock: Clock
  readonly log: Logger
}

/** A short outage moves no pods. */
const BROKEN_MS = 60_000
const RETRY_MS = 5_000
const LONGEST_MS = 24 * 3_600_000

/**
 * Keeps the Node's condition NetworkUnavailable equal to the truth: False once this node is ready, True after a required object has been
 * missing for a minute or the node has told its subnet for so long and knows of no other, and between these as it stands.
 */
export async function reportNetwork(needs: ReportNeeds, signal: AbortSignal): Promise<void> {
  const { agent, node, clock, log } = needs
  const pause = new Alarm(needs)
  signal.addEventListener('abort', () => pause.stop(), { once: true })
  let brokenSince: number | undefined
  const follow = (source: Source<unknown>) => async (stop: AbortSignal) => {
    for await (const _ of source.watch(stop)) pause.ring()
  }
  const keep = async (stop: AbortSignal) => {
    while (!stop.aborted) {
      const broken = whyBroken(agent)
      brokenSince = broken === undefined ? undefined : (brokenSince ?? clock.now())
      const left = brokenSince === undefined ? LONGEST_MS : brokenSince + BROKEN_MS - clock.now()
      const wanted = wantedStatus(agent.notReady().length === 0, left)
      const stands = node.status()
      if (wanted === undefined || stands === undefined || wanted === stands.status) {
        await pause.until(clock.now() + (left > 0 ? left : LONGEST_MS))
        continue
      }
      try {
        await node.set(conditionOf(wanted, broken, clock.wall()), stop)
        log.info('condition NetworkUnavailable of the Node set', { status: wanted })
        // Whoever else writes it again and again is answered no faster.
        await clock.sleep(1_000, stop).catch(() => {})
      } catch (cause) {
        if (stop.aborted) return
        log.warn('condition NetworkUnavailable of the Node not set', {
          why: messageOf(cause),
          retryInSeconds: RETRY_MS / 1000,
        })
        await clock.sleep(RETRY_MS, stop).catch(() => {})
      }
    }
  }
  await runTogether([follow(agent.changes), follow(node.changes), keep], signal)
}

function whyBroken({ reconciler, isAlone }: ReportNeeds['agent']): string | undefined {
  const [broken] = unmetRequirements(reconciler.failures().values())
  return broken?.text ?? (isAlone ? OTHERS_UNKNOWN : undefined)
}

function wantedStatus(isReady: boolean, leftMs: number): NodeCondition['status'] | undefined {
  if (isReady) return 'False'
  return leftMs <= 0 ? 'True' : undefined
}

function conditionOf(status: NodeCondition['status'], why: string | undefined, wall: number): NodeCondition {
  // Kubernetes writes whole seconds.
  const now = new Date(wall).toISOString().replace(/\.\d+/, '')
  const said =
    status === 'False'
      ? { reason: 'FlannelIsUp', message: 'Flannel is running on this node' }
      : { reason: 'FlannelIsDown', message: why ?? 'a required object is missing' }
  return { type: 'NetworkUnavailable', status, lastHeartbeatTime: now, lastTransitionTime: now, ...said }
}
