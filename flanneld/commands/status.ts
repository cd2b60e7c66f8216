import type { Clock } from '../../lib/clock.ts'
import { messageOf, UsageError } from '../../lib/errors.ts'
import type { FlagValue } from '../options/go-flags.ts'
import type { StatusDocument } from '../status/status.ts'
import { askDaemon, CANNOT_ASK } from './ask-daemon.ts'
import { statusLine, statusText } from './status-text.ts'

const AGAIN_MS = 500

const EXIT_CODE: Readonly<Record<StatusDocument['state'], number>> = { ok: 0, degraded: 1, down: 2 }

export interface StatusCommandNeeds {
  readonly clock: Clock
  readonly ask: (signal: AbortSignal) => Promise<StatusDocument>
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
}

/**
 * `flanneld status`: 0 ok, 1 degraded, 2 down, 3 cannot ask. With `--wait` it asks until all is well or the time is
 * over, and prints the last answer.
 *
 * @param flags the command's own, as `parseCommandLine` gives them
 * @throws UsageError
 */
export async function runStatus(
  needs: StatusCommandNeeds,
  flags: ReadonlyMap<string, FlagValue>,
  signal: AbortSignal,
): Promise<number> {
  const output = flags.get('o') ?? ''
  if (output !== '' && output !== 'json')
    throw new UsageError(`invalid value ${JSON.stringify(output)} for flag -o: must be json`)
  const waitMs = flags.get('wait')
  const end = needs.clock.now() + (typeof waitMs === 'number' ? waitMs : 0)
  for (;;) {
    const answer = await askOnce(needs, signal)
    const code = 'status' in answer ? EXIT_CODE[answer.status.state] : CANNOT_ASK
    const left = end - needs.clock.now()
    if (code === 0 || left <= 0 || signal.aborted) {
      if (!('status' in answer)) needs.complain(`${answer.error}\n`)
      else if (output === 'json') needs.print(`${JSON.stringify(answer.status, null, 2)}\n`)
      else needs.print(flags.get('brief') === true ? `${statusLine(answer.status)}\n` : statusText(answer.status))
      return code
    }
    await needs.clock.sleep(Math.min(AGAIN_MS, left), signal).catch(() => {})
  }
}

async function askOnce(
  needs: StatusCommandNeeds,
  signal: AbortSignal,
): Promise<{ readonly status: StatusDocument } | { readonly error: string }> {
  try {
    return { status: await needs.ask(signal) }
  } catch (cause) {
    return { error: messageOf(cause) }
  }
}

/** Asks the daemon behind the socket. Throws an Error with a sentence for the operator. */
export async function askStatus(socketPath: string | undefined, signal: AbortSignal): Promise<StatusDocument> {
  const text = await askDaemon(socketPath, { method: 'GET', path: '/' }, signal)
  const document: unknown = parseJson(text)
  if (!isStatusDocument(document)) throw new Error(`${socketPath} does not answer with a flannel.status/v1 document`)
  return document
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// The version promises the rest: the document only grows.
function isStatusDocument(value: unknown): value is StatusDocument {
  if (typeof value !== 'object' || value === null || !('apiVersion' in value) || !('state' in value)) return false
  return (
    value.apiVersion === 'flannel.status/v1' && typeof value.state === 'string' && Object.hasOwn(EXIT_CODE, value.state)
  )
}
