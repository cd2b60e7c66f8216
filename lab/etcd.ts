import { mkdir, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { systemClock } from '../lib/clock.ts'
import { controlPlane } from './layout.ts'
import type { Namespace } from './namespace.ts'
import type { Program } from './program.ts'

/** One key with its value; `lease` is the etcd lease's id, '0' without one. */
export interface KeyValue {
  readonly key: string
  readonly value: string
  readonly modRevision: string
  readonly lease: string
}

export interface EtcdOptions {
  readonly folder: string
  /** More flags, for TLS, auth or quota; etcd takes the last of a repeated flag. */
  readonly args?: readonly string[]
}

/** A busy machine has let a write wait for seconds. */
const requestMs = 20_000

/**
 * Debian's etcd in the control plane's namespace. This process reaches it from outside the namespace through a unix
 * socket, on which etcd speaks its JSON gateway: a put is a millisecond, not the start of an etcdctl.
 */
export class Etcd {
  readonly url = `http://${controlPlane.address}:2379`
  readonly #namespace: Namespace
  readonly #options: EtcdOptions
  #program: Program | undefined

  constructor(namespace: Namespace, options: EtcdOptions) {
    this.#namespace = namespace
    this.#options = options
  }

  /** A path for clients outside the namespace: `unix:PATH` is a gRPC target too. */
  get socket(): string {
    // etcd takes a unix socket only in the form host:port, and makes it in its working directory.
    return join(this.#options.folder, 'client:1')
  }

  get pid(): number | undefined {
    return this.#program?.running ? this.#program.pid : undefined
  }

  get log(): string {
    return join(this.#options.folder, 'etcd.log')
  }

  /** Starts it, with the data of the last time if there was one; resolves when it answers. */
  async start(): Promise<void> {
    const { folder, args = [] } = this.#options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // After a crash the socket is still there, and etcd would not start beside it.
    await rm(this.socket, { force: true })
    const peers = 'http://127.0.0.1:2380'
    this.#program = await this.#namespace.start(
      [
        'etcd',
        '--name=lab',
        '--logger=zap',
        '--log-level=warn',
        '--data-dir=data',
        // A single member elects itself: the usual second of patience would only delay every start.
        '--heartbeat-interval=20',
        '--election-timeout=200',
        `--listen-client-urls=http://0.0.0.0:2379,unix://client:1`,
        `--advertise-client-urls=${this.url}`,
        `--listen-peer-urls=${peers}`,
        `--initial-advertise-peer-urls=${peers}`,
        `--initial-cluster=lab=${peers}`,
        ...args,
      ],
      { log: this.log, cwd: folder },
    )
    const deadline = AbortSignal.timeout(60_000)
    while (!(await this.healthy())) {
      if (!this.#program.running || deadline.aborted) {
        throw new Error(`etcd did not start:\n${(await this.#program.logText()).slice(-2_000)}`)
      }
      await systemClock.sleep(10, deadline)
    }
  }

  /** Ends it in order; the data stays for the next start. */
  async stop(): Promise<void> {
    this.thaw()
    await this.#program?.stop()
  }

  /** SIGKILL: sockets are closed by the kernel, the data stays. */
  async crash(): Promise<void> {
    this.#program?.kill('SIGKILL')
    await this.#program?.waitExit()
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** It hangs: connections stay, nothing is answered. */
  async freeze(): Promise<void> {
    await this.#program?.freeze()
  }

  thaw(): void {
    this.#program?.kill('SIGCONT')
  }

  async healthy(): Promise<boolean> {
    try {
      const status = (await this.call('maintenance/status', {}, 1_000)) as { leader?: string }
      return status.leader !== undefined && status.leader !== '0'
    } catch {
      return false
    }
  }

  /** Returns the revision of the write. */
  async put(key: string, value: string, options: { lease?: string } = {}): Promise<string> {
    const lease = options.lease === undefined ? {} : { lease: options.lease }
    return revisionOf(await this.call('kv/put', { key: encode(key), value: encode(value), ...lease }))
  }

  /** Many keys, 100 to a transaction, as fast as etcd takes them. */
  async putAll(
    entries: Iterable<readonly [key: string, value: string]>,
    options: { lease?: string } = {},
  ): Promise<void> {
    const puts = Array.from(entries, ([key, value]) => ({
      requestPut: { key: encode(key), value: encode(value), ...options },
    }))
    for (let from = 0; from < puts.length; from += 100) {
      await this.call('kv/txn', { success: puts.slice(from, from + 100) })
    }
  }

  async get(key: string): Promise<KeyValue | undefined> {
    return readKeyValues(await this.call('kv/range', { key: encode(key) }))[0]
  }

  /** All keys that begin with the prefix, in order. */
  async list(prefix: string): Promise<readonly KeyValue[]> {
    return readKeyValues(await this.call('kv/range', { key: encode(prefix), range_end: afterPrefix(prefix) }))
  }

  /** Returns how many keys there were. */
  async del(key: string, options: { prefix?: boolean } = {}): Promise<number> {
    const end = options.prefix ? { range_end: afterPrefix(key) } : {}
    const { deleted } = (await this.call('kv/deleterange', { key: encode(key), ...end })) as { deleted?: string }
    return Number(deleted ?? 0)
  }

  /** Seconds in, id out. */
  async grantLease(ttl: number): Promise<string> {
    return ((await this.call('lease/grant', { TTL: ttl })) as { ID: string }).ID
  }

  async revokeLease(id: string): Promise<void> {
    await this.call('lease/revoke', { ID: id })
  }

  /** Forgets all revisions before this one: a watch that asks for older ones is refused. */
  async compact(revision: string): Promise<void> {
    await this.call('kv/compaction', { revision, physical: true })
  }

  /** etcdctl in the control plane, for all that has no method here: `ctl('user', 'add', 'root:secret')`. */
  async ctl(...args: readonly string[]): Promise<string> {
    const env = { ETCDCTL_API: '3', ETCDCTL_ENDPOINTS: 'http://127.0.0.1:2379' }
    return (await this.#namespace.exec(['etcdctl', ...args], { env })).stdout
  }

  /** One call of the JSON gateway, `/v3/PATH`. Bytes are base64, 64-bit numbers are strings. */
  async call(path: string, body: object, timeout = requestMs): Promise<unknown> {
    const { status, text } = await post(this.socket, `/v3/${path}`, JSON.stringify(body), AbortSignal.timeout(timeout))
    if (status !== 200) throw new Error(`etcd refused ${path}: ${text.slice(0, 500)}`)
    return JSON.parse(text)
  }
}

async function post(
  socketPath: string,
  path: string,
  body: string,
  signal: AbortSignal,
): Promise<{ status: number | undefined; text: string }> {
  return await new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, method: 'POST', signal }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode, text }))
      response.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64')
}

function decode(text: string | undefined): string {
  return Buffer.from(text ?? '', 'base64').toString()
}

// etcd's range end is exclusive: the prefix with its last byte one higher. Keys of ours end far below 0xff.
function afterPrefix(prefix: string): string {
  const bytes = Buffer.from(prefix)
  const last = bytes.length - 1
  bytes[last] = (bytes[last] ?? 0) + 1
  return bytes.toString('base64')
}

function revisionOf(answer: unknown): string {
  return (answer as { header: { revision: string } }).header.revision
}

function readKeyValues(answer: unknown): readonly KeyValue[] {
  const { kvs = [] } = answer as { kvs?: readonly Record<string, string>[] }
  return kvs.map((kv) => ({
    key: decode(kv['key']),
    value: decode(kv['value']),
    modRevision: kv['mod_revision'] ?? '0',
    lease: kv['lease'] ?? '0',
  }))
}
