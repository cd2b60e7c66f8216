import type { Outcome, RunOptions } from './command.ts'
import { run } from './command.ts'
import type { Ping, PingOptions } from './ping.ts'
import { ping } from './ping.ts'
import { PingJudge } from './ping-judge.ts'
import { labVariable } from './proc.ts'
import type { ProgramOptions } from './program.ts'
import { Program } from './program.ts'

/**
 * A network namespace: a host, a container, the router or the control plane.
 *
 * Programs enter it with `nsenter --net`, not with `ip netns exec`: the latter also mounts a fresh /sys, in which the
 * cgroups are gone (dockerd then refuses to start), and nsenter leaves the caller's pid to the program, so that a
 * signal to the child reaches it. /proc/sys/net is the entering process's own either way.
 */
export class Namespace {
  readonly name: string
  readonly labId: string
  readonly #signal: AbortSignal

  constructor(needs: { labId: string; signal: AbortSignal }, options: { name: string }) {
    this.labId = needs.labId
    this.#signal = needs.signal
    this.name = options.name
  }

  /** Runs a program to its end. Throws CommandError unless `anyCode`; 60 s unless `timeout`. */
  async exec(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return await run([...this.enter, ...argv], { ...options, env: this.environment(options.env) })
  }

  /** What `ip -json ARGS` prints, parsed: `ipJson('-d', 'link', 'show', 'flannel.1')`. */
  // biome-ignore lint/suspicious/noExplicitAny: the shapes are iproute2's; tests pick what they look at
  async ipJson(...args: readonly string[]): Promise<any[]> {
    const { stdout } = await run(['ip', '-n', this.name, '-json', ...args])
    // Some objects print nothing at all where others print [].
    return stdout.trim() === '' ? [] : JSON.parse(stdout)
  }

  /** `ip ARGS` here; many lines at once with `ipBatch`. */
  async ip(...args: readonly string[]): Promise<string> {
    return (await run(['ip', '-n', this.name, ...args])).stdout
  }

  async ipBatch(lines: readonly string[]): Promise<void> {
    await run(['ip', '-n', this.name, '-batch', '-'], { input: `${lines.join('\n')}\n`, timeout: 60_000 })
  }

  /** Writes sysctls: `{ 'net/ipv4/ip_forward': 1 }`. Only those below net/ belong to the namespace, others throw. */
  async sysctl(values: Readonly<Record<string, number | string>>): Promise<void> {
    const lines = Object.entries(values).map(([path, value]) => {
      if (!/^net\/[\w./-]+$/.test(path) || path.includes('..'))
        throw new TypeError(`${path} is not a sysctl of a namespace`)
      return `echo '${value}' > /proc/sys/${path}`
    })
    await this.exec(['sh', '-e', '-c', lines.join('\n')])
  }

  /** Starts a program that goes on until it ends, is killed, or the lab closes. */
  async start(argv: readonly string[], options: ProgramOptions): Promise<Program> {
    this.#signal.throwIfAborted()
    return await Program.start([...this.enter, ...argv], { ...options, env: this.environment(options.env) })
  }

  /** Sends `count` echo requests and waits for the answers. */
  async ping(address: string, options: PingOptions = {}): Promise<Ping> {
    return await ping((argv, runOptions) => this.exec(argv, runOptions), address, options)
  }

  /** An echo request at least every `intervalMs` until `stop()`, which says what was lost. */
  startPing(address: string, intervalMs = 10): PingJudge {
    return new PingJudge({ enter: this.enter, env: this.environment(), signal: this.#signal }, { address, intervalMs })
  }

  /** Aborted when the lab closes. */
  get signal(): AbortSignal {
    return this.#signal
  }

  get enter(): readonly string[] {
    return ['nsenter', `--net=/run/netns/${this.name}`, '--']
  }

  /** Little on purpose: a FLANNELD_* variable of the caller's shell must not configure the lab's daemons. */
  environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
    return {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: '/root',
      LC_ALL: 'C',
      [labVariable]: this.labId,
      ...more,
    }
  }
}
