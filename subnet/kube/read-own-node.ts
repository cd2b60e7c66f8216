import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/log.ts'
import { untilFirst } from '../../lib/signals.ts'
import type { KubeClient } from './client.ts'
import { NotFound } from './errors.ts'
import { NODES } from './node-follower.ts'
import { whileUnavailable } from './while-unavailable.ts'

interface Needs {
  readonly client: KubeClient
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
}

/** In whose name faults are told; none counts any more once all are listed. */
export const OWN_FIRST = 'own node first'

/**
 * The own Node by itself, for as long as it takes; undefined: it is not there yet, for which the list is watched, or all are listed by now
 * (`listed` has ended).
 */
export async function readOwnNode(
  needs: Needs,
  { name, listed }: { readonly name: string; readonly listed: (signal: AbortSignal) => Promise<void> },
  signal: AbortSignal,
): Promise<unknown> {
  const { client } = needs
  const permission = { resource: 'nodes', verb: 'get' } as const
  const request = { method: 'GET', path: `${NODES}/${encodeURIComponent(name)}`, permission } as const
  const ask = (stop: AbortSignal) => client.ask(request, stop).catch(unlessNotFound)
  const over = new AbortController()
  const read = async (stop: AbortSignal) => {
    try {
      return await whileUnavailable(needs, OWN_FIRST, ask, stop)
    } catch (cause) {
      if (!stop.aborted) throw cause
      return undefined
    } finally {
      over.abort()
    }
  }
  const [node] = await untilFirst([signal, over.signal], (stop) =>
    Promise.all([read(stop), listed(stop).then(() => over.abort())]),
  )
  client.health.forget(OWN_FIRST)
  return node
}

function unlessNotFound(cause: unknown): undefined {
  if (!(cause instanceof NotFound)) throw cause
}
