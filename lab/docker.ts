import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { IpAddr } from '../lib/address.ts'
import { systemClock } from '../lib/clock.ts'
import { run } from './command.ts'
import type { Host } from './host.ts'
import { Namespace } from './namespace.ts'
import { labVariable } from './proc.ts'
import type { Program } from './program.ts'

/** Another `docker` may come first in PATH. */
const client = '/usr/bin/docker'
const image = 'lab'
const startMs = 60_000

/** Debian's dockerd in a host of the lab. Whatever it mounts is its own; its containers go with `stop`, its cgroups with the lab. */
export class Docker {
  readonly #host: Host
  #program: Program
  readonly #data: string
  readonly #socket: string

  private constructor(host: Host, program: Program, places: { data: string; socket: string }) {
    this.#host = host
    this.#program = program
    this.#data = places.data
    this.#socket = places.socket
  }

  /**
   * `args` behind its own, as mk-docker-opts makes them from subnet.env. Resolves when it has answered and has an image. `data`, below the
   * host's folder unless told, must lie where overlays can: on no overlay.
   */
  static async start(host: Host, args: readonly string[], data = dataOf(host)): Promise<Docker> {
    // Short: the longest socket below must fit 108 bytes.
    const folder = join(host.folder, 'd')
    await mkdir(folder, { recursive: true })
    const docker = new Docker(host, await launch(host, args, data), { data, socket: join(folder, 'sock') })
    await docker.#answers()
    await docker.#importImage()
    return docker
  }

  /** A container on the default bridge that does nothing; names have two characters at least. `more`: options of `docker run`. */
  async run(name: string, ...more: readonly string[]): Promise<DockerContainer> {
    // The mark lets the lab's end find it even when this process has crashed.
    const mark = `${labVariable}=${this.#host.labId}`
    await this.#docker('run', '--detach', '--env', mark, '--name', name, ...more, image, '/bin/sleep', '86400')
    return await this.container(name)
  }

  /** As it runs now: after a restart it has another process, and maybe another address. */
  async container(name: string): Promise<DockerContainer> {
    const format = '{{.State.Pid}} {{.NetworkSettings.IPAddress}}'
    const [pid = '', address = ''] = (await this.#docker('inspect', '--format', format, name)).trim().split(' ')
    return new DockerContainer(this.#host, { name, pid: Number(pid), address: address as IpAddr })
  }

  async restartContainer(name: string): Promise<DockerContainer> {
    await this.#docker('restart', '--time', '0', name)
    return await this.container(name)
  }

  async stopContainer(name: string): Promise<void> {
    await this.#docker('stop', '--time', '0', name)
  }

  /** Another dockerd in its place, with options of its own; which containers run then is Docker's to decide. */
  async restart(args: readonly string[]): Promise<void> {
    await this.#program.stop(15_000)
    this.#program = await launch(this.#host, args, this.#data)
    await this.#answers()
  }

  async stop(): Promise<void> {
    if (this.#program.running) {
      const ids = (await this.#docker('ps', '--all', '--quiet')).split('\n').filter((id) => id !== '')
      if (ids.length > 0) await this.#docker('rm', '--force', ...ids)
    }
    await this.#program.stop(15_000)
    for (const folder of [this.#data, join(this.#host.folder, 'd')]) await rm(folder, { recursive: true, force: true })
  }

  async #answers(): Promise<void> {
    const deadline = systemClock.now() + startMs
    for (;;) {
      const answer = await run([client, '-H', `unix://${this.#socket}`, 'version'], { anyCode: true })
      if (answer.code === 0) return
      if (!this.#program.running || systemClock.now() > deadline)
        throw new Error(
          `dockerd of ${this.#host.label} did not start:\n${(await this.#program.logText()).slice(-3_000)}`,
        )
      await systemClock.sleep(100, AbortSignal.timeout(1_000))
    }
  }

  async #importImage(): Promise<void> {
    const root = join(this.#host.folder, 'image')
    await mkdir(join(root, 'bin'), { recursive: true })
    const busybox = (await run(['sh', '-c', 'command -v busybox'])).stdout.trim()
    const tar = `cp ${busybox} ${root}/bin/busybox && ln -sf busybox ${root}/bin/sleep && tar -C ${root} -c . | ${client} -H unix://${this.#socket} import - ${image}`
    await run(['sh', '-ec', tar], { timeout: 60_000 })
  }

  async #docker(...args: readonly string[]): Promise<string> {
    return (await run([client, '-H', `unix://${this.#socket}`, ...args], { timeout: 60_000 })).stdout
  }
}

function dataOf(host: Host): string {
  return join(host.folder, 'd', 'data')
}

async function launch(host: Host, args: readonly string[], data: string): Promise<Program> {
  const folder = join(host.folder, 'd')
  return await host.start(
    [
      ...['unshare', '--mount', '--propagation', 'private', 'dockerd', '--storage-driver', 'overlay2'],
      ...['--data-root', data, '--exec-root', join(folder, 'exec'), '--pidfile', join(folder, 'pid')],
      ...[
        '-H',
        `unix://${join(folder, 'sock')}`,
        '--cgroup-parent',
        `/${host.name}`,
        '--userland-proxy=false',
        ...args,
      ],
    ],
    { log: join(host.folder, 'dockerd.log') },
  )
}

/** A container's network namespace, entered by its process. The image has nothing but busybox, programs come from outside. */
export class DockerContainer extends Namespace {
  readonly address: IpAddr
  readonly #pid: number

  constructor(host: Host, options: { name: string; pid: number; address: IpAddr }) {
    super({ labId: host.labId, signal: host.signal }, { name: options.name })
    this.#pid = options.pid
    this.address = options.address
  }

  override get enter(): readonly string[] {
    return ['nsenter', `--net=/proc/${this.#pid}/ns/net`, '--']
  }
}
