import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { kill } from 'node:process'
import { systemClock } from '../../lib/clock.ts'
import { rebuildHost } from '../build.ts'
import { makeCgroup, processesBelow, removeCgroup } from '../cgroups.ts'
import type { Host } from '../host.ts'
import { Namespace } from '../namespace.ts'
import { identify, isAlive } from '../proc.ts'
import { containerdConfig, kubeletConfig } from './node-files.ts'
import type { ClusterPrograms } from './programs.ts'
import { pauseImage } from './test-images.ts'

export interface NodeNeeds {
  readonly host: Host
  readonly router: Namespace
  readonly programs: ClusterPrograms
  /** The program that becomes pid 1. */
  readonly pause: string
  readonly kubeconfig: (user: string) => string
}

export interface NodeOptions {
  readonly proxyMode: 'iptables' | 'nftables'
  /** Pods' network, for kube-proxy. */
  readonly podRange: string
  /** Docker archives that its containerd has from the start. */
  readonly images: Promise<readonly string[]>
  /** Index of the interface that Kubernetes knows it by. */
  readonly nic: number
}

/** A node of the cluster: a lab host whose pid 1, mounts and processes are its own, with containerd, kubelet and kube-proxy. */
export class ClusterNode extends Namespace {
  readonly host: Host
  readonly #needs: NodeNeeds
  readonly #options: NodeOptions
  #pid = 0
  #imported = false

  constructor(needs: NodeNeeds, options: NodeOptions) {
    super(needs.host, { name: needs.host.name })
    this.host = needs.host
    this.#needs = needs
    this.#options = options
  }

  /** As Kubernetes knows it. */
  get label(): string {
    return this.host.label
  }

  get address(): string {
    return this.addresses[0] ?? this.host.address
  }

  /** By which Kubernetes knows it, of each family. */
  get addresses(): readonly string[] {
    return this.host.layout.nics[this.#options.nic]?.addresses.map((address) => address.replace(/\/.*/, '')) ?? []
  }

  /** Resolves when its daemons are started, those of Kubernetes when the API server is there; kubelet registers a little later. */
  async boot(apiServer?: Promise<void>): Promise<void> {
    const { folder } = this.host
    await mkdir(folder, { recursive: true })
    await makeCgroup(this.#cgroup)
    const script = join(import.meta.dirname, 'boot.sh')
    const namespaces = [
      '--mount',
      '--propagation',
      'private',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      '--uts',
      '--ipc',
    ]
    const init = await this.host.start(
      ['unshare', ...namespaces, 'sh', script, this.label, folder, this.#cgroup, this.#needs.pause],
      { log: this.#log('boot') },
    )
    this.#pid = await this.#firstProcess(init.pid)
    await writeFile(join(folder, 'containerd.toml'), containerdConfig(pauseImage))
    await writeFile(join(folder, 'kubelet.json'), kubeletConfig(this.#cgroup))
    await this.#start('containerd', ['containerd', '--config', join(folder, 'containerd.toml')])
    await this.#until('containerd answers', async () => (await this.ctr('version')).code === 0)
    // What a disk has after a reboot as well.
    if (!this.#imported) for (const image of await this.#options.images) await this.importImage(image)
    this.#imported = true
    await apiServer
    await this.#startKubernetes()
  }

  /** As if the power had failed and come back: processes, network and /run are gone, files are kept. */
  async reboot(): Promise<void> {
    await this.powerOff()
    // A kubelet waits three seconds for each container of which it finds a group and nothing else.
    await removeCgroup(this.#cgroup)
    await rebuildHost(this.host.layout, this.#needs.router.name, { rpFilter: 0, signal: this.signal })
    await this.boot()
  }

  /** Ends every process of the node at once. */
  async powerOff(): Promise<void> {
    const identity = await identify(this.#pid)
    if (identity === undefined) return
    kill(this.#pid, 'SIGKILL')
    while (await isAlive(identity)) await systemClock.sleep(10, this.signal)
  }

  async importImage(archive: string): Promise<void> {
    const { code, stderr, stdout } = await this.ctr('images', 'import', archive)
    if (code !== 0) throw new Error(`${this.label} cannot import ${archive}: ${stderr || stdout}`)
  }

  /** containerd's own client, in Kubernetes' part. */
  async ctr(...args: readonly string[]) {
    return await this.exec(['ctr', '-n', 'k8s.io', ...args], { anyCode: true, timeout: 120_000 })
  }

  /** A process of this machine that is in the pod's network. */
  async processOfPod(uid: string): Promise<number> {
    const [pid] = await processesBelow(this.#cgroup, uid)
    if (pid === undefined) throw new Error(`no process of pod ${uid} on ${this.label}`)
    return pid
  }

  /** The node's end of `path`, which may lie where only it sees it. Undefined: there is no such file. */
  async read(path: string): Promise<string | undefined> {
    const { code, stdout } = await this.exec(['cat', path], { anyCode: true })
    return code === 0 ? stdout : undefined
  }

  /** What its daemons said last, for a test that fails. */
  async logs(bytes = 2_000): Promise<string> {
    const texts = ['boot', 'containerd', 'kubelet', 'kube-proxy'].map(async (name) => {
      const text = await readFile(this.#log(name), 'utf8').catch(() => '')
      return `--- ${this.label} ${name}\n${text.slice(-bytes)}`
    })
    return (await Promise.all(texts)).join('\n')
  }

  override get enter(): readonly string[] {
    if (this.#pid === 0) return super.enter
    return ['nsenter', '--target', String(this.#pid), '--mount', '--net', '--pid', '--uts', '--ipc', '--']
  }

  get #cgroup(): string {
    return this.name
  }

  async #startKubernetes(): Promise<void> {
    const { programs, kubeconfig } = this.#needs
    await this.#start('kubelet', [
      programs.kubelet,
      `--config=${join(this.host.folder, 'kubelet.json')}`,
      `--kubeconfig=${kubeconfig(this.label)}`,
      `--hostname-override=${this.label}`,
      `--node-ip=${this.addresses.join(',')}`,
    ])
    await this.#start('kube-proxy', [
      programs.kubeProxy,
      `--kubeconfig=${kubeconfig('proxy')}`,
      `--proxy-mode=${this.#options.proxyMode}`,
      `--hostname-override=${this.label}`,
      `--cluster-cidr=${this.#options.podRange}`,
      '--conntrack-max-per-core=0',
    ])
  }

  /** Into the node's cgroups first: entering namespaces does not change them. */
  async #start(name: string, argv: readonly string[]): Promise<void> {
    const join = `for group in /sys/fs/cgroup/*/${this.#cgroup}; do echo 0 >"$group/cgroup.procs"; done; exec "$@"`
    await this.start(['sh', '-c', join, name, ...argv], { log: this.#log(name) })
  }

  async #firstProcess(parent: number): Promise<number> {
    let found = 0
    await this.#until('its first process is pause', async () => {
      const children = await readFile(`/proc/${parent}/task/${parent}/children`, 'utf8')
      found = Number(children.trim().split(' ')[0])
      return (await readFile(`/proc/${found}/comm`, 'utf8')).trim() === 'pause'
    })
    return found
  }

  async #until(what: string, check: () => Promise<boolean>): Promise<void> {
    const deadline = systemClock.now() + 30_000
    while (!(await check().catch(() => false))) {
      if (systemClock.now() > deadline) throw new Error(`node ${this.label}: not ${what}:\n${await this.logs()}`)
      await systemClock.sleep(50, this.signal)
    }
  }

  #log(name: string): string {
    return join(this.host.folder, `${name}.log`)
  }
}
