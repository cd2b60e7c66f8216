import { execFile } from 'node:child_process'
import { OpFailure } from '../table.ts'

export interface RunOptions {
  /** Goes to its standard input. */
  readonly input?: string
  /** After so many ms it is killed; 5 s where nothing is said. */
  readonly timeoutMs?: number
  /** Hears its process id. */
  readonly onStart?: (pid: number) => void
}

const TIMEOUT_MS = 5_000
/** A busy kube-proxy has 100,000 rules of 200 bytes. */
const MOST_BYTES = 256 * 1024 * 1024

/**
 * What the program printed. @throws OpFailure: ENOSYS it is not installed, ETIMEDOUT it was killed, EBUSY the lock is held, EPERM no
 * permission, ESTALE any other refusal: what was known of the rules may be wrong.
 */
export async function runProgram(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const timeout = options.timeoutMs ?? TIMEOUT_MS
  return await new Promise((resolve, reject) => {
    const limits = { timeout, killSignal: 'SIGKILL', maxBuffer: MOST_BYTES, encoding: 'utf8' } as const
    const child = execFile(program, args, limits, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(failureOf(program, error, stderr, timeout))
    })
    if (child.pid !== undefined) options.onStart?.(child.pid)
    // A program that ends without reading closes the pipe: how it ended says more.
    child.stdin?.on('error', () => {})
    child.stdin?.end(options.input ?? '')
  })
}

function failureOf(
  program: string,
  error: Error & { readonly code?: string | number | null; readonly killed?: boolean },
  stderr: string,
  timeoutMs: number,
): OpFailure {
  if (error.killed) {
    return new OpFailure({
      code: 'ETIMEDOUT',
      message: `${program} did not end within ${timeoutMs / 1000} s and was killed: run it by hand to see what holds it`,
    })
  }
  if (error.code === 'ENOENT') {
    const remedy = program === 'nft' ? 'install the package nftables' : 'install the package iptables'
    return new OpFailure({ code: 'ENOSYS', message: `${program} is not installed: ${remedy}` })
  }
  if (error.code === 'EACCES') return new OpFailure({ code: 'EPERM', message: `${program} may not be executed` })
  const said = stderr.trim().split('\n').slice(0, 2).join(' ').slice(0, 300)
  const refused = /permission denied|not permitted|must be root/i.test(stderr)
  if (!refused && /holding the xtables lock/.test(stderr)) {
    const holder = 'another program holds the iptables lock; find it with: fuser -v /run/xtables.lock'
    return new OpFailure({ code: 'EBUSY', message: `${program}: ${holder}` })
  }
  const why = said === '' ? `ended with ${error.code ?? 'a signal'}` : said
  const text = `${program}: ${why}${refused ? ': it needs root and the capability NET_ADMIN in this network namespace' : ''}`
  return new OpFailure({ code: refused ? 'EPERM' : 'ESTALE', message: text })
}
