/**
 * Runs `work` with a signal that is aborted as soon as one of these is, with its reason; the returned promise is `work`'s own.
 * In place of `AbortSignal.any`, which holds what it is made of weakly: Node 20 collects a timeout in it as garbage before its time has
 * come, Node 22 one such signal within another (nodejs/node issues 54614 and 57736), and then nothing is ever aborted.
 */
export async function untilFirst<T>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const first = new AbortController()
  const abort = ({ target }: Event) => first.abort((target as AbortSignal).reason)
  for (const signal of signals) {
    if (signal.aborted) first.abort(signal.reason)
    else signal.addEventListener('abort', abort, { once: true })
  }
  try {
    return await work(first.signal)
  } finally {
    for (const signal of signals) signal.removeEventListener('abort', abort)
  }
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
