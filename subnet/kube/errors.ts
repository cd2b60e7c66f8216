/** The API gave no usable answer; a later try may. Secrets are not in the text. */
export class ApiUnavailable extends Error {
  override readonly name = 'ApiUnavailable'
  /** Milliseconds that the server asked to be left alone for. */
  readonly retryAfterMs: number

  constructor(text: string, { retryAfterMs = 0, cause }: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(text, cause === undefined ? {} : { cause })
    this.retryAfterMs = retryAfterMs
  }
}

/** The resource version that was asked for is no longer kept (410): list anew. */
export class Expired extends Error {
  override readonly name = 'Expired'
}

/** There is no such object (404). */
export class NotFound extends Error {
  override readonly name = 'NotFound'
}

/** What a request needs that a role must allow. */
export interface Permission {
  readonly resource: 'nodes' | 'nodes/status' | 'pods'
  readonly verb: 'get' | 'list' | 'watch' | 'patch'
}

/** An answer of the API server that is no success, as an error. */
export function answerError(
  status: number,
  body: string,
  { retryAfter, permission }: { retryAfter: string | undefined; permission: Permission },
): Error {
  const text = messageIn(body)
  const said = `the API server answers ${status}${text === '' ? '' : `: ${text}`}`
  switch (status) {
    case 404:
      return new NotFound(said)
    case 410:
      return new Expired(said)
    case 401:
      return new ApiUnavailable(`${said}; the token or certificate of this node is not accepted`)
    case 403: {
      const { verb, resource } = permission
      const rule = `{"apiGroups":[""],"resources":["${resource}"],"verbs":["${verb}"]}`
      return new ApiUnavailable(`${said}; a ClusterRole of this account must have the rule ${rule}`)
    }
    default:
      return new ApiUnavailable(said, { retryAfterMs: retryAfterMs(retryAfter) })
  }
}

/** Nobody is left alone for longer, whatever the server says. */
const LONGEST_RETRY_MS = 60_000

/** Only seconds: the API server sends no dates. */
function retryAfterMs(value: string | undefined): number {
  return /^\d{1,6}$/.test(value ?? '') ? Math.min(LONGEST_RETRY_MS, Number(value) * 1000) : 0
}

/** Of a `Status` object; of anything else the beginning. */
function messageIn(body: string): string {
  try {
    const { message } = JSON.parse(body)
    if (typeof message === 'string') return oneLine(message)
  } catch {
    // A proxy's own page, or half of an answer.
  }
  return oneLine(body)
}

function oneLine(text: string): string {
  return text
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim()
    .slice(0, 300)
}
