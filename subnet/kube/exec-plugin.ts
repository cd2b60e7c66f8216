import { execFile } from 'node:child_process'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import { Secret } from '../../lib/log.ts'
import { aborted } from '../../lib/signals.ts'
import { ApiUnavailable } from './errors.ts'
import { givenSecrets, spokenLine } from './spoken-line.ts'

/** A program that a kubeconfig names to get credentials. Source: client.authentication.k8s.io/v1 and v1beta1 of Kubernetes. */
export interface ExecSpec {
  readonly apiVersion: string
  /** Absolute, or a name that is looked for in PATH. */
  readonly command: string
  readonly args: readonly string[]
  /** In addition to the daemon's environment. */
  readonly env: Readonly<Record<string, string>>
  /** What the program is told of the cluster; absent: nothing. */
  readonly cluster?: object
  /** How to get the program. */
  readonly hint: string
}

export interface ExecCredentials {
  readonly token?: Secret
  readonly cert?: string
  readonly key?: Secret
}

/** An error names what stands there by its path alone. */
const SECRET = { secret: true }
const VERSIONS = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1']
/** A cloud's own API may be slow; an answer to a request waits for it. */
const TIMEOUT_MS = 20_000
const MOST_BYTES = 1024 * 1024
/** Credentials that end sooner are not used any more: they have to arrive. */
const MARGIN_MS = 10_000
/** A server that refuses what the program has just given is not a reason to ask it again. */
const AGAIN_MS = 10_000

/**
 * @param resolve makes a path absolute that is relative to the kubeconfig
 * @throws ConfigError
 */
export function readExecSpec(fields: JsonFields, resolve: (path: string) => string, cluster: object): ExecSpec {
  const apiVersion = fields.string('apiVersion') ?? ''
  if (!VERSIONS.includes(apiVersion))
    throw new ConfigError(fields.at('apiVersion'), `must be ${VERSIONS.join(' or ')}`, apiVersion)
  const command = fields.string('command') ?? ''
  if (command === '') throw new ConfigError(fields.at('command'), 'must name a program')
  if (fields.string('interactiveMode') === 'Always')
    throw new ConfigError(fields.at('interactiveMode'), 'must not be Always: a daemon has no terminal')
  const env = listOf(fields, 'env').map((item, index) => {
    const entry = new JsonFields(item, `${fields.at('env')}[${index}]`, SECRET)
    const name = entry.string('name') ?? ''
    // Not repeated, as below: what stands at the wrong place may be a secret.
    if (!/^[^=\0]+$/.test(name)) throw new ConfigError(entry.at('name'), 'must be the name of a variable')
    return [name, entry.string('value') ?? ''] as const
  })
  const args = listOf(fields, 'args').map((item) => {
    if (typeof item !== 'string') throw new ConfigError(fields.at('args'), 'must be a list of texts')
    return item
  })
  return {
    apiVersion,
    command: command.includes('/') ? resolve(command) : command,
    args,
    env: Object.fromEntries(env),
    ...(fields.boolean('provideClusterInfo', false) && { cluster }),
    hint: fields.string('installHint') ?? '',
  }
}

interface Cached {
  readonly credentials: ExecCredentials
  /** On the wall clock, ms; infinite: until they are refused. */
  readonly until: number
  /** On the monotonic clock. */
  readonly since: number
}

interface Run {
  readonly result: Promise<ExecCredentials>
  readonly kill: AbortController
  waiting: number
}

/** Runs the program when there are no credentials, or no longer; never twice at a time, and never by a shell. */
export class ExecPlugin {
  readonly #clock: Pick<Clock, 'now' | 'wall'>
  readonly #spec: ExecSpec
  readonly #environment: NodeJS.ProcessEnv
  readonly #timeoutMs: number
  #cached: Cached | undefined
  #running: Run | undefined

  constructor(
    needs: { readonly clock: Pick<Clock, 'now' | 'wall'>; readonly env: NodeJS.ProcessEnv },
    options: { readonly spec: ExecSpec; readonly timeoutMs?: number },
  ) {
    this.#clock = needs.clock
    this.#spec = options.spec
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS
    const info = { apiVersion: options.spec.apiVersion, kind: 'ExecCredential', spec: infoOf(options.spec) }
    this.#environment = { ...needs.env, ...options.spec.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) }
  }

  /** @throws ApiUnavailable: a later try may succeed; the signal's reason */
  async credentials(signal: AbortSignal): Promise<ExecCredentials> {
    const cached = this.#cached
    if (cached !== undefined && this.#clock.wall() < cached.until - MARGIN_MS) return cached.credentials
    signal.throwIfAborted()
    this.#running ??= this.#start()
    const run = this.#running
    run.waiting += 1
    try {
      return await Promise.race([run.result, aborted(signal).then(() => Promise.reject(signal.reason))])
    } finally {
      run.waiting -= 1
      // A program that hangs must not hold up the end of the daemon, nor outlive it.
      if (run.waiting === 0) {
        run.kill.abort()
        this.#running = undefined
      }
    }
  }

  /** The server has refused them. */
  refused(): void {
    if (this.#cached !== undefined && this.#clock.now() - this.#cached.since >= AGAIN_MS) this.#cached = undefined
  }

  #start(): Run {
    const kill = new AbortController()
    return { result: this.#run(kill.signal), kill, waiting: 0 }
  }

  async #run(kill: AbortSignal): Promise<ExecCredentials> {
    const text = await this.#output(kill)
    try {
      const { credentials, until } = readCredential(text, this.#spec.apiVersion)
      this.#cached = { credentials, until, since: this.#clock.now() }
      return credentials
    } catch (cause) {
      // Not the text itself: it may hold a token.
      const why = cause instanceof SyntaxError ? 'it is no JSON' : messageOf(cause)
      throw new ApiUnavailable(`${this.#spec.command} of the kubeconfig gave no ExecCredential: ${why}`, { cause })
    }
  }

  async #output(signal: AbortSignal): Promise<string> {
    const { command, args } = this.#spec
    const limits = {
      timeout: this.#timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: MOST_BYTES,
      encoding: 'utf8',
      env: this.#environment,
      signal,
    } as const
    return await new Promise((resolve, reject) => {
      const child = execFile(command, args, limits, (error, stdout, stderr) => {
        if (error === null) resolve(stdout)
        else reject(new ApiUnavailable(whyFailed(this.#spec, error, { stderr, timeoutMs: this.#timeoutMs })))
      })
      child.stdin?.on('error', () => {})
      child.stdin?.end()
    })
  }
}

function infoOf({ cluster }: ExecSpec): object {
  return { interactive: false, ...(cluster && { cluster }) }
}

function readCredential(text: string, apiVersion: string): { credentials: ExecCredentials; until: number } {
  const document = new JsonFields(JSON.parse(text), '', SECRET)
  if (document.raw('kind') !== 'ExecCredential') throw new ConfigError('kind', 'must be ExecCredential')
  if (document.raw('apiVersion') !== apiVersion) throw new ConfigError('apiVersion', `must be ${apiVersion}`)
  const status = new JsonFields(document.raw('status'), 'status', SECRET)
  const word = (name: string): string | undefined => {
    const value = status.string(name)
    return value === '' ? undefined : value
  }
  const [token, cert, key] = [word('token'), word('clientCertificateData'), word('clientKeyData')]
  if (token === undefined && (cert === undefined || key === undefined))
    throw new ConfigError('status', 'must have a token, or clientCertificateData with clientKeyData')
  if ((cert === undefined) !== (key === undefined))
    throw new ConfigError('status', 'must have clientCertificateData and clientKeyData together')
  const ends = word('expirationTimestamp')
  const until = ends === undefined ? Number.POSITIVE_INFINITY : Date.parse(ends)
  if (Number.isNaN(until)) throw new ConfigError(status.at('expirationTimestamp'), 'must be a time (RFC 3339)')
  const credentials = {
    ...(token && { token: new Secret(token) }),
    ...(cert && { cert }),
    ...(key && { key: new Secret(key) }),
  }
  return { credentials, until }
}

function whyFailed(
  { command, hint, env, args }: ExecSpec,
  error: Error & { readonly code?: string | number | null; readonly killed?: boolean },
  { stderr, timeoutMs }: { readonly stderr: string; readonly timeoutMs: number },
): string {
  const program = `${command} of the kubeconfig`
  const remedy = hint === '' ? '' : ` (${spokenLine(hint, [])})`
  if (error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') return `${program} printed more than ${MOST_BYTES} bytes`
  if (error.killed) return `${program} did not end within ${timeoutMs / 1000} s and was killed`
  if (error.code === 'ENOENT') return `${program} is not installed${remedy}`
  if (error.code === 'EACCES') return `${program} may not be executed`
  const said = spokenLine(stderr, givenSecrets(env, args))
  return `${program} ended with ${error.code ?? 'a signal'}${said === '' ? '' : `: ${said}`}`
}

function listOf(fields: JsonFields, name: string): readonly unknown[] {
  const value = fields.raw(name) ?? []
  if (!Array.isArray(value)) throw new ConfigError(fields.at(name), 'must be a list')
  return value
}
