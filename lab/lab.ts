import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { getuid, pid } from 'node:process'
import { PermissionError, UsageError } from '../lib/errors.ts'
import type { RpFilter } from './build.ts'
import { build, inParallel } from './build.ts'
import { missingProgram, run } from './command.ts'
import { Etcd } from './etcd.ts'
import { Host } from './host.ts'
import type { SegmentOptions } from './layout.ts'
import { layOut } from './layout.ts'
import { Namespace } from './namespace.ts'
import { identify } from './proc.ts'
import { labFolder, removeLab, sweep, writeRecord } from './record.ts'

export interface LabOptions {
  readonly segments: readonly SegmentOptions[]
  /** Reverse path filter of the hosts' interfaces; 0 unless told. Red Hat and others have 1. */
  readonly rpFilter?: RpFilter
  /** Bytes, of every segment that names none; 1500 unless told. */
  readonly mtu?: number
  /** More flags for etcd; false: no etcd. */
  readonly etcd?: readonly string[] | false
  /** What flannel calls net-conf.json; put under `/coreos.com/network/config`. */
  readonly netConf?: unknown
}

export const defaultPrefix = '/coreos.com/network'

/** Hosts, segments, a router and a control plane made of network namespaces, with a real etcd. Needs root. */
export class Lab {
  readonly id: string
  /** Logs, subnet.env files, etcd's data; gone when the lab is closed. */
  readonly folder: string
  readonly router: Namespace
  readonly controlPlane: Namespace
  readonly hosts: readonly Host[]
  readonly etcd: Etcd
  readonly #abort: AbortController
  readonly #opening = new Set<Promise<unknown>>()
  #closed: Promise<void> | undefined

  private constructor(id: string, options: LabOptions) {
    this.id = id
    this.#abort = new AbortController()
    // Every program that runs listens to it.
    setMaxListeners(0, this.#abort.signal)
    this.folder = labFolder(id)
    const needs = { labId: id, signal: this.#abort.signal }
    const layout = layOut(id, options.segments, options.mtu ?? 1500)
    this.router = new Namespace(needs, { name: layout.router })
    this.controlPlane = new Namespace(needs, { name: layout.controlPlane })
    const args = options.etcd === false ? [] : (options.etcd ?? [])
    this.etcd = new Etcd(this.controlPlane, { folder: join(this.folder, 'etcd'), args })
    this.hosts = layout.hosts.map(
      (host) =>
        new Host(
          { ...needs, router: this.router, etcdUrl: this.etcd.url, open: (work) => this.#open(work) },
          { layout: host, folder: join(this.folder, host.name) },
        ),
    )
  }

  /**
   * Builds a lab, after removing what crashed ones left. Throws PermissionError without root, MissingProgramError naming
   * the Debian package, UsageError for a layout that cannot be; whatever it throws, nothing stays behind.
   */
  static async create(options: LabOptions): Promise<Lab> {
    await checkMachine(options.etcd !== false)
    const owner = await identify(pid)
    if (owner === undefined) throw new Error('/proc is not mounted')
    await sweep()
    const id = randomBytes(3).toString('hex')
    const lab = new Lab(id, options)
    // The record comes first: from here on a crash leaves nothing that the next lab would not remove.
    await writeRecord({ id, owner })
    try {
      await mkdir(lab.folder, { mode: 0o700 })
      await inParallel(lab.hosts, 8, async (host) => {
        await mkdir(host.folder)
      })
      const layout = layOut(id, options.segments, options.mtu ?? 1500)
      await build(layout, { rpFilter: options.rpFilter ?? 0, signal: lab.#abort.signal })
      if (options.etcd !== false) {
        await lab.etcd.start()
        if (options.netConf !== undefined) await lab.configure(options.netConf)
      }
      return lab
    } catch (cause) {
      await lab.close()
      throw cause
    }
  }

  /** Throws UsageError when there is no such host. */
  host(name: string): Host {
    const found = this.hosts.find((host) => host.label === name)
    if (found === undefined) throw new UsageError(`the lab has no host ${name}`)
    return found
  }

  /** Writes the network configuration; text goes to etcd as it is, to try what is no JSON. */
  async configure(netConf: unknown, prefix = defaultPrefix): Promise<void> {
    await this.etcd.put(`${prefix}/config`, typeof netConf === 'string' ? netConf : JSON.stringify(netConf))
  }

  /** Ends every program, removes every namespace and file. May be called again. */
  async close(): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #open<T>(work: Promise<T>): Promise<T> {
    this.#opening.add(work)
    try {
      return await work
    } finally {
      this.#opening.delete(work)
    }
  }

  async #close(): Promise<void> {
    this.#abort.abort(new Error('the lab is closed'))
    // What is being made in this moment would otherwise outlive the lab.
    await Promise.allSettled(this.#opening)
    await removeLab(this.id)
  }
}

async function checkMachine(withEtcd: boolean): Promise<void> {
  if (getuid?.() !== 0) throw new PermissionError('the lab makes network namespaces: run it as root')
  const needed = ['ip', 'nsenter', 'ping', ...(withEtcd ? ['etcd'] : [])]
  const { stdout } = await run(['sh', '-c', 'for p; do command -v "$p" >&2 || echo "$p"; done', 'sh', ...needed])
  const missing = stdout.split('\n').find((program) => program !== '')
  if (missing !== undefined) throw missingProgram(missing)
}
