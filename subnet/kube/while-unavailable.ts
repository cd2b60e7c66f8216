import { Backoff } from '../../lib/backoff.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import type { KubeClient } from './client.ts'
import { ApiUnavailable, Expired, NotFound } from './errors.ts'

interface Needs {
  readonly client: Pick<KubeClient, 'health'>
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
}

/** Tries again, with growing pauses, until the API server does it; `user`: in whose name the faults are told. */
export async function whileUnavailable<T>(
  needs: Needs,
  user: string,
  work: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { clock, client, log, random } = needs
  const backoff = new Backoff(needs, { firstMs: 200, mostMs: 10_000 })
  for (;;) {
    try {
      const done = await work(signal)
      client.health.forget(user)
      return done
    } catch (cause) {
      signal.throwIfAborted()
      if (!isRetried(cause)) throw cause
      client.health.failed(user, cause.message)
      log.debug('request to the API server failed, trying again', { error: messageOf(cause) })
      const asked = cause instanceof ApiUnavailable ? cause.retryAfterMs : 0
      await clock.sleep(Math.max(backoff.next(), asked * (1 + random() / 2)), signal)
    }
  }
}

function isRetried(cause: unknown): cause is ApiUnavailable | NotFound | Expired {
  return cause instanceof ApiUnavailable || cause instanceof NotFound || cause instanceof Expired
}
