import { spawn } from 'node:child_process'

/** What a finished program said. `code` is null when a signal ended it. */
export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** Text for standard input. */
  readonly input?: string
  /** Milliseconds until the program is killed; 60,000 unless told. */
  readonly timeout?: number
  readonly signal?: AbortSignal
  readonly env?: Readonly<Record<string, string>>
  /** Return a non-zero exit code instead of throwing. */
  readonly anyCode?: boolean
}

/** What has not ended by then hangs, on the busiest machine. */
const defaultMs = 60_000

/** A program ended with another code than 0, or ran out of time. The text holds what it wrote on stderr. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly outcome: Outcome

  constructor(argv: readonly string[], outcome: Outcome, why: string) {
    const said = (outcome.stderr.trim() || outcome.stdout.trim()).slice(0, 2000)
    super(`${argv.join(' ')}: ${why}${said ? `\n${said}` : ''}`)
    this.outcome = outcome
  }
}

/** A program that is not installed; `remedy` is the command that installs it. */
export class MissingProgramError extends Error {
  override readonly name = 'MissingProgramError'
}

const debianPackages: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  bridge: 'iproute2',
  tc: 'iproute2',
  nsenter: 'util-linux',
  ping: 'iputils-ping',
  etcd: 'etcd-server',
  etcdctl: 'etcd-client',
  nft: 'nftables',
  iptables: 'iptables',
  iperf3: 'iperf3',
  dockerd: 'docker.io',
}

export function missingProgram(program: string): MissingProgramError {
  const debianPackage = debianPackages[program]
  const remedy = debianPackage === undefined ? '' : ` (Debian: apt-get install ${debianPackage})`
  return new MissingProgramError(`${program} is not installed${remedy}`)
}

/** Runs a program to its end. Throws CommandError or MissingProgramError; rejects with the signal's reason when aborted. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const [program = '', ...rest] = argv
  const limit = AbortSignal.timeout(options.timeout ?? defaultMs)
  const stop = options.signal === undefined ? limit : AbortSignal.any([options.signal, limit])
  stop.throwIfAborted()
  const child = spawn(program, rest, {
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    ...(options.env === undefined ? {} : { env: options.env }),
  })
  const text = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text.stdout += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text.stderr += chunk
  })
  // A program that ends without reading its input is no fault of ours: its exit code tells.
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(options.input)
  const kill = () => child.kill('SIGKILL')
  stop.addEventListener('abort', kill, { once: true })
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on('error', (cause: NodeJS.ErrnoException) =>
        reject(cause.code === 'ENOENT' ? missingProgram(program) : cause),
      )
      child.on('close', resolve)
    })
    const outcome: Outcome = { code, ...text }
    options.signal?.throwIfAborted()
    if (limit.aborted) throw new CommandError(argv, outcome, `no end after ${options.timeout ?? defaultMs} ms`)
    if (code !== 0 && !options.anyCode) throw new CommandError(argv, outcome, `exit code ${code}`)
    return outcome
  } finally {
    stop.removeEventListener('abort', kill)
  }
}
