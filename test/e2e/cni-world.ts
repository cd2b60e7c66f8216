import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Outcome } from '../../lab/command.ts'
import { run } from '../../lab/command.ts'
import type { DaemonOptions } from '../../lab/daemon.ts'
import type { Host } from '../../lab/host.ts'
import { Namespace } from '../../lab/namespace.ts'
import type { Program } from '../../lab/program.ts'
import { cniPlugins } from '../needs.ts'
import { daemonProgram, flanneld, startDaemon, until } from './world.ts'

/** The `cni-conf.json` of flannel's manifest, for a host of the lab. */
export function flannelsConflist(host: Host): string {
  const delegate = { hairpinMode: true, isDefaultGateway: true }
  const plugins = [
    { type: 'flannel', subnetFile: host.paths.subnetFile, delegate },
    { type: 'portmap', capabilities: { portMappings: true } },
  ]
  return JSON.stringify({ name: 'cbr0', cniVersion: '0.3.1', plugins })
}

/** A host with a disk of its own below /var/lib, on which real CNI plugins are run as a container runtime runs them. */
export class CniHost {
  readonly host: Host
  readonly confDir: string
  readonly confFile: string
  readonly binDir: string
  readonly #holder: Program
  readonly #containers = new Map<string, Namespace>()

  private constructor(host: Host, holder: Program) {
    this.host = host
    this.#holder = holder
    this.confDir = join(host.folder, 'net.d')
    this.confFile = join(this.confDir, '10-flannel.conflist')
    this.binDir = join(host.folder, 'bin')
  }

  static async open(host: Host): Promise<CniHost> {
    mkdirSync(host.folder, { recursive: true })
    // Containers are mounted after it, and must be seen in it.
    const script = [
      'mount -t tmpfs -o mode=0755 tmpfs /var/lib && mkdir /var/lib/cni',
      // Configurations of the machine's own runtimes are not this host's.
      'if test -d /etc/cni; then mount -t tmpfs tmpfs /etc/cni; fi',
      'touch /var/lib/here && exec sleep infinity',
    ].join(' && ')
    const argv = ['unshare', '--mount', '--propagation', 'slave', 'sh', '-c', script]
    const holder = await host.start(argv, { log: join(host.folder, 'holder.log') })
    const cni = new CniHost(host, holder)
    await until(5_000, 'the disk is there', () => cni.inside('test -e /var/lib/here'))
    await cni.inside(`mkdir -p ${cni.confDir} ${cni.binDir} && cp ${cniPlugins}/* ${cni.binDir}`)
    return cni
  }

  get args(): readonly string[] {
    return [`--cni-conf-file=${this.confFile}`, `--cni-bin-dir=${this.binDir}`]
  }

  async start(options: DaemonOptions = {}): Promise<Program> {
    const { args = this.args, program = daemonProgram } = options
    return await startDaemon(this.host, { dialect: 'ours', ...options, program: this.#wrapped(program), args })
  }

  async cleanup(args = this.args): Promise<Outcome> {
    return await flanneld(this.host, ['cleanup'], { program: this.#wrapped(daemonProgram), args })
  }

  /** Output of a shell on the host. */
  async inside(script: string): Promise<string> {
    return (await this.host.exec([...this.#enter, 'sh', '-ec', script])).stdout
  }

  /** What host-local has on record, sorted. */
  async reserved(network = 'cbr0'): Promise<readonly string[]> {
    const names = await this.inside(`ls /var/lib/cni/networks/${network} 2>/dev/null || true`)
    return names
      .split('\n')
      .filter((name) => /^[\d.]+$|:/.test(name))
      .sort()
  }

  /** Containers with a file of flannel's meta-plugin. */
  async scratch(): Promise<readonly string[]> {
    return (await this.inside('ls /var/lib/cni/flannel 2>/dev/null || true'))
      .split('\n')
      .filter((id) => id !== '')
      .sort()
  }

  /** ADD by a configuration, as runtimes do; the container's addresses without length. */
  async add(
    id: string,
    confFile = this.confFile,
  ): Promise<{ readonly container: Namespace; readonly addresses: readonly string[] }> {
    const name = `${this.host.name}-${id}`
    await run(['ip', 'netns', 'add', name])
    const container = new Namespace({ labId: this.host.labId, signal: this.host.signal }, { name })
    this.#containers.set(id, container)
    await container.ip('link', 'set', 'lo', 'up')
    let result: { ips?: readonly { address: string }[] } | undefined
    const { plugins, ...list } = this.conflist(confFile)
    for (const plugin of plugins)
      result = JSON.parse(await this.#call('ADD', id, { ...list, ...plugin, prevResult: result }))
    return { container, addresses: (result?.ips ?? []).map(({ address }) => address.replace(/\/.*/, '')) }
  }

  /** DEL by a configuration, whatever it was at ADD. */
  async del(id: string, confFile = this.confFile): Promise<void> {
    const { plugins, ...list } = this.conflist(confFile)
    for (const plugin of [...plugins].reverse()) await this.#call('DEL', id, { ...list, ...plugin })
    await this.forget(id)
  }

  /** The container is gone, and nobody calls DEL: a reboot. */
  async forget(id: string): Promise<void> {
    const container = this.#containers.get(id)
    this.#containers.delete(id)
    if (container !== undefined) await run(['ip', 'netns', 'del', container.name])
  }

  /** Before the lab is closed. */
  async close(): Promise<void> {
    for (const id of [...this.#containers.keys()]) await this.forget(id)
  }

  // biome-ignore lint/suspicious/noExplicitAny: the shape is the specification's; tests pick what they look at
  conflist(confFile = this.confFile): any {
    return JSON.parse(readFileSync(confFile, 'utf8'))
  }

  get #enter(): readonly string[] {
    return ['nsenter', '--mount', `--target=${this.#holder.pid}`, '--']
  }

  async #call(command: 'ADD' | 'DEL', id: string, config: { type: string }): Promise<string> {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_NETNS: `/run/netns/${this.host.name}-${id}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: this.binDir,
    }
    const argv = [...this.#enter, join(this.binDir, config.type)]
    return (await this.host.exec(argv, { env, input: JSON.stringify(config) })).stdout
  }

  #wrapped(program: string): string {
    const wrapper = join(this.host.folder, `with-disk-${program.replaceAll('/', '_')}`)
    writeFileSync(wrapper, `#!/bin/sh\nexec ${this.#enter.join(' ')} ${program} "$@"\n`)
    chmodSync(wrapper, 0o755)
    return wrapper
  }
}
