import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

export interface ServerOptions {
  /** Debian's in PATH unless told. */
  readonly program?: string
  /** More flags of etcd. */
  readonly flags?: readonly string[]
  readonly secure?: {
    readonly cert: string
    readonly key: string
    /** Where given, clients need a certificate of it; `client` is one. */
    readonly clients?: { readonly ca: string; readonly cert: string; readonly key: string }
  }
}

/** A real etcd on 127.0.0.1, with its data in a temporary directory. */
export class EtcdServer {
  readonly folder: string
  readonly port: number
  readonly #peerPort: number
  readonly #options: ServerOptions
  #process: ChildProcess | undefined

  private constructor(folder: string, ports: { client: number; peer: number }, options: ServerOptions) {
    this.folder = folder
    this.port = ports.client
    this.#peerPort = ports.peer
    this.#options = options
  }

  /** Made, not started. */
  static async create(options: ServerOptions = {}): Promise<EtcdServer> {
    const folder = await mkdtemp(join(tmpdir(), 'flannel-etcd-'))
    return new EtcdServer(folder, { client: await freePort(), peer: await freePort() }, options)
  }

  static async start(options: ServerOptions = {}): Promise<EtcdServer> {
    const server = await EtcdServer.create(options)
    await server.start()
    return server
  }

  get url(): string {
    return `${this.#options.secure === undefined ? 'http' : 'https'}://127.0.0.1:${this.port}`
  }

  get program(): string {
    return this.#options.program ?? 'etcd'
  }

  /** How often a call was begun at the server, as etcd itself counts. */
  async started(method: 'Range' | 'Watch' | 'Txn' | 'Authenticate' | 'Status'): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text()
    const line = new RegExp(`^grpc_server_started_total\\{.*grpc_method="${method}".*\\} (\\S+)$`, 'm').exec(text)
    return Number(line?.[1] ?? 0)
  }

  async start(): Promise<void> {
    const { secure, flags = [] } = this.#options
    const peer = `http://127.0.0.1:${this.#peerPort}`
    const clients = secure?.clients === undefined ? [] : ['--client-cert-auth', '--trusted-ca-file', secure.clients.ca]
    const tls = secure === undefined ? [] : ['--cert-file', secure.cert, '--key-file', secure.key, ...clients]
    const argv = [
      '--name',
      'test',
      '--data-dir',
      join(this.folder, 'data'),
      '--logger',
      'zap',
      '--log-level',
      'error',
      '--unsafe-no-fsync',
    ]
    const urls = ['--listen-client-urls', this.url, '--advertise-client-urls', this.url, '--listen-peer-urls', peer]
    const cluster = ['--initial-advertise-peer-urls', peer, '--initial-cluster', `test=${peer}`]
    const program = this.program
    const known = await flagsKnown(program)
    const all = [...argv.filter((flag) => flag !== '--unsafe-no-fsync' || known), ...urls, ...cluster, ...tls, ...flags]
    this.#process = spawn(program, all, { stdio: 'ignore' })
    for (let tries = 0; tries < 100; tries += 1) {
      const answered = await this.ctl(['endpoint', 'health'], undefined, 1).then(
        () => true,
        (cause: unknown) => /auth|user name/i.test(String(cause)),
      )
      if (answered) return
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error('etcd did not start')
  }

  /** etcdctl on this server; its standard output. `patience` is in seconds. */
  async ctl(argv: readonly string[], user?: string, patience = 20): Promise<string> {
    const { secure } = this.#options
    const clients = secure?.clients === undefined ? [] : ['--cert', secure.clients.cert, '--key', secure.clients.key]
    const tls = secure === undefined ? [] : ['--insecure-transport=false', '--insecure-skip-tls-verify', ...clients]
    const login = user === undefined ? [] : ['--user', user]
    const limits = ['--dial-timeout', `${patience}s`, '--command-timeout', `${5 * patience}s`]
    const all = ['--endpoints', this.url, ...limits, ...tls, ...login, ...argv]
    const { stdout } = await execute('etcdctl', all, { env: { ...process.env, ETCDCTL_API: '3' }, maxBuffer: 1 << 26 })
    return stdout
  }

  async put(key: string, value: string): Promise<void> {
    await this.ctl(['put', '--', key, value])
  }

  async get(key: string): Promise<string> {
    return (await this.ctl(['get', '--print-value-only', key])).replace(/\n$/, '')
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#process?.kill('SIGCONT')
  }

  /** As by kill -9. */
  async kill(): Promise<void> {
    const running = this.#process
    this.#process = undefined
    if (running === undefined || running.exitCode !== null) return
    const gone = new Promise((resolve) => running.once('exit', resolve))
    running.kill('SIGKILL')
    await gone
  }

  async wipe(): Promise<void> {
    await rm(join(this.folder, 'data'), { recursive: true, force: true })
  }

  async close(): Promise<void> {
    await this.kill()
    await rm(this.folder, { recursive: true, force: true })
  }
}

async function flagsKnown(program: string): Promise<boolean> {
  const { stdout, stderr } = await execute(program, ['--help'])
  return `${stdout}${stderr}`.includes('--unsafe-no-fsync')
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
