import { mkdir, rm } from 'node:fs/promises'
import { request } from 'node:http'
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
const startMs = 120_000
/** Killed before it has ended by itself, dockerd leaves its containerd behind, and the next one in its place never starts. */
const stopMs = 120_000
const commandMs = 120_000

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
    // As the first process of its namespace sleep hears no SIGTERM: without, dockerd waits ten seconds for it whenever it ends.
    const own = ['--detach', '--stop-timeout', '1', '--env', mark, '--name', name]
    await this.#docker('run', ...own, ...more, image, '/bin/sleep', '86400')
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
    await this.#program.stop(stopMs)
    this.#program = await launch(this.#host, args, this.#data)
    await this.#answers()
  }

  async stop(): Promise<void> {
    if (this.#program.running) {
      const ids = (await this.#docker('ps', '--all', '--quiet')).split('\n').filter((id) => id !== '')
      if (ids.length > 0) await this.#docker('rm', '--force', ...ids)
    }
    await this.#program.stop(stopMs)
    for (const folder of [this.#data, join(this.#host.folder, 'd')]) await rm(folder, { recursive: true, force: true })
  }

  async #answers(): Promise<void> {
    const deadline = systemClock.now() + startMs
    for (;;) {
      if (await isAnswered(this.#socket)) return
      if (!this.#program.running || systemClock.now() > deadline)
        throw new Error(
          `dockerd of ${this.#host.label} did not start:\n${(await this.#program.logText()).slice(-3_000)}`,
        )
      await systemClock.sleep(100, this.#host.signal)
    }
  }

  async #importImage(): Promise<void> {
    const root = join(this.#host.folder, 'image')
    await mkdir(join(root, 'bin'), { recursive: true })
    const busybox = (await run(['sh', '-c', 'command -v busybox'])).stdout.trim()
    const tar = `cp ${busybox} ${root}/bin/busybox && ln -sf busybox ${root}/bin/sleep && tar -C ${root} -c . | ${client} -H unix://${this.#socket} import - ${image}`
    await run(['sh', '-ec', tar], { timeout: commandMs })
  }

  async #docker(...args: readonly string[]): Promise<string> {
    return (await run([client, '-H', `unix://${this.#socket}`, ...args], { timeout: commandMs })).stdout
  }
}

/** By the API: to start the client again and again would take longer than what is waited for. */
async function isAnswered(socketPath: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const asked = request({ socketPath, path: '/_ping', agent: false, timeout: 5_000 }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode === 200))
    })
    asked.on('timeout', () => asked.destroy(new Error('no answer')))
    asked.on('error', () => resolve(false))
    asked.end()
  })
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
