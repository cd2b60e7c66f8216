import { request } from 'node:http'
import { withDeadline } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'

/** A node with 5,000 peers says about 2 MB. */
const MOST_BYTES = 64 * 1024 * 1024
const ASK_MS = 5000

/** Exit code of a command that nobody answers. */
export const CANNOT_ASK = 3

export interface Question {
  readonly method: 'GET' | 'POST'
  readonly path: string
}

/** Asks the daemon behind the status socket. Throws an Error with a sentence for the operator. */
export async function askDaemon(
  socketPath: string | undefined,
  question: Question,
  signal: AbortSignal,
): Promise<string> {
  if (socketPath === undefined) throw new Error('no status socket: --status-socket is empty')
  try {
    return await withDeadline(ASK_MS, signal, (limited) => ask(socketPath, question, limited))
  } catch (cause) {
    throw new Error(explain(socketPath, cause), { cause })
  }
}

function ask(socketPath: string, { method, path }: Question, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, agent: false, signal }, (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes > MOST_BYTES) response.destroy(new Error('the answer is too long'))
      })
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        // A daemon of an earlier version knows no orders.
        if (response.statusCode === 200) resolve(text)
        else reject(new Error(`answered with ${response.statusCode}: ${text.slice(0, 200)}`))
      })
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end()
  })
}

function explain(socketPath: string, cause: unknown): string {
  switch ((cause as NodeJS.ErrnoException).code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return `flanneld is not running: nobody answers at ${socketPath}`
    case 'EACCES':
      return `no permission to ask at ${socketPath}: be root or in its group`
    default:
      return `cannot ask at ${socketPath}: ${messageOf(cause)}`
  }
}
