import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { IpAddr } from '../lib/address.ts'
import { systemClock } from '../lib/clock.ts'
import { run } from './command.ts'
import {
  bridge,
  bridgeAddressLines,
  bridgeLines,
  Container,
  containerAddresses,
  containerLines,
  noDuplicates,
  portLines,
} from './container.ts'
import type { DaemonOptions, DaemonPaths } from './daemon.ts'
import { daemonCommand } from './daemon.ts'
import type { HostLayout } from './layout.ts'
import { Namespace } from './namespace.ts'
import { nicLines } from './nic-lines.ts'
import type { Program } from './program.ts'
import type { SubnetEnv } from './subnet-env.ts'
import { parseSubnetEnv } from './subnet-env.ts'

export interface HostNeeds {
  readonly labId: string
  readonly signal: AbortSignal
  readonly router: Namespace
  readonly etcdUrl: string
  /** Hands on what is being made, after telling the lab, which does not end before it is made. */
  readonly open: <T>(work: Promise<T>) => Promise<T>
}

export class Host extends Namespace {
  readonly layout: HostLayout
  readonly folder: string
  readonly paths: DaemonPaths
  readonly #needs: HostNeeds
  readonly #containers = new Map<string, Container>()
  #handedOut = 0
  #bridge: Promise<void> | undefined
  #daemon: Program | undefined

  constructor(needs: HostNeeds, options: { layout: HostLayout; folder: string }) {
    super(needs, { name: options.layout.namespace })
    this.#needs = needs
    this.layout = options.layout
    this.folder = options.folder
    this.paths = {
      subnetFile: join(this.folder, 'subnet.env'),
      stateDir: join(this.folder, 'state'),
      statusSocket: join(this.folder, 'flanneld.sock'),
      log: join(this.folder, 'flanneld.log'),
    }
  }

  /** As the caller named it; `name` is the namespace's. */
  get label(): string {
    return this.layout.name
  }

  /** The first address of eth0, without length. */
  get address(): IpAddr {
    const first = this.layout.nics[0]?.addresses[0]
    if (first === undefined) throw new Error(`host ${this.label} has no address`)
    return first.slice(0, first.indexOf('/')) as IpAddr
  }

  /** The daemon started last, running or not. */
  get daemon(): Program | undefined {
    return this.#daemon
  }

  get containers(): readonly Container[] {
    return [...this.#containers.values()]
  }

  /** Starts a daemon; does not wait until it is ready (`subnetEnv` does). Its log is appended to the host's. */
  async startDaemon(options: DaemonOptions = {}): Promise<Program> {
    await mkdir(this.folder, { recursive: true })
    const command = await daemonCommand(options, this.paths, this.#needs.etcdUrl)
    const env = { WIREGUARD_KEY_FILE: join(this.folder, 'wgkey'), ...options.env }
    this.signal.throwIfAborted()
    this.#daemon = await this.#needs.open(this.start(command, { log: this.paths.log, cwd: this.folder, env }))
    return this.#daemon
  }

  /**
   * Waits until the daemon has written subnet.env, and parses it. Throws with the end of the daemon's log when it ends
   * before, or after `timeout` ms (30,000 unless told).
   */
  async subnetEnv(options: { timeout?: number; signal?: AbortSignal } = {}): Promise<SubnetEnv> {
    const timeout = options.timeout ?? 30_000
    const deadline = systemClock.now() + timeout
    for (;;) {
      const text = await readFile(this.paths.subnetFile, 'utf8').catch(() => undefined)
      if (text !== undefined) return parseSubnetEnv(text)
      const exit = this.#daemon?.exit
      if (exit !== undefined) {
        throw await this.#noSubnet(`ended (${exit.signal ?? `exit code ${exit.code}`}) before it wrote subnet.env`)
      }
      if (systemClock.now() > deadline) throw await this.#noSubnet(`wrote no subnet.env within ${timeout} ms`)
      await systemClock.sleep(5, options.signal ?? this.signal)
    }
  }

  /** A container as CNI's `bridge` and `host-local` plugins would make it from subnet.env, for which it waits. */
  async addContainer(label: string): Promise<Container> {
    if (!/^[a-z][a-z0-9]{0,7}$/.test(label)) {
      throw new TypeError(`container name ${label}: a letter, then up to 7 small letters or digits`)
    }
    if (this.#containers.has(label)) throw new TypeError(`host ${this.label} already has a container ${label}`)
    return await this.#needs.open(this.#wireContainer(label))
  }

  async #wireContainer(label: string): Promise<Container> {
    const env = await this.subnetEnv()
    this.#bridge ??= this.#makeBridge(env)
    await this.#bridge
    const addresses = containerAddresses(env, this.#handedOut)
    this.#handedOut += 1
    const container = new Container(this.#needs, { name: `${this.name}-${label}`, label, addresses })
    this.signal.throwIfAborted()
    await run(['ip', 'netns', 'add', container.name])
    await this.ipBatch(portLines(env, container.name, `veth-${label}`))
    if (env.families.some(({ subnet }) => subnet.includes(':'))) await container.sysctl(noDuplicates('eth0'))
    await container.ipBatch(containerLines(env, addresses))
    this.#containers.set(label, container)
    return container
  }

  container(label: string): Container {
    const found = this.#containers.get(label)
    if (found === undefined) throw new Error(`host ${this.label} has no container ${label}`)
    return found
  }

  /** The pair of interfaces vanishes with the namespace. */
  async removeContainer(label: string): Promise<void> {
    const container = this.container(label)
    this.#containers.delete(label)
    await this.ip('link', 'del', `veth-${label}`)
    await run(['ip', 'netns', 'del', container.name])
  }

  /** `ip link set DEVICE down`: the kernel drops the IPv4 routes and IPv6 addresses of the device. */
  async linkDown(device = 'eth0'): Promise<void> {
    await this.ip('link', 'set', device, 'down')
  }

  /** Up again, with the addresses and the default route that a network service would put back. */
  async linkUp(device = 'eth0'): Promise<void> {
    await this.ip('link', 'set', device, 'up')
    await this.ipBatch(nicLines(this.#nic(device)))
  }

  /**
   * The cable: the device stays up but loses its carrier, routes and addresses stay. The kernel looks at carriers once
   * a second, so both directions may take that long; `cutWire` is instant.
   */
  async unplug(device = 'eth0'): Promise<void> {
    await this.#needs.router.ip('link', 'set', this.#nic(device).port, 'down')
  }

  async plug(device = 'eth0'): Promise<void> {
    await this.#needs.router.ip('link', 'set', this.#nic(device).port, 'up')
  }

  /** The wire eats every packet from now on, both ways, and nobody is told: the carrier stays. */
  async cutWire(device = 'eth0'): Promise<void> {
    await this.#needs.router.exec(['bridge', 'link', 'set', 'dev', this.#nic(device).port, 'state', '0'])
  }

  async mendWire(device = 'eth0'): Promise<void> {
    await this.#needs.router.exec(['bridge', 'link', 'set', 'dev', this.#nic(device).port, 'state', '3'])
  }

  #nic(device: string) {
    const nic = this.layout.nics.find((known) => known.device === device)
    if (nic === undefined) throw new Error(`host ${this.label} has no ${device}`)
    return nic
  }

  async #makeBridge(env: SubnetEnv): Promise<void> {
    const bytes = crypto.getRandomValues(new Uint8Array(5))
    // 02: locally administered, unicast.
    const mac = `02:${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':')}`
    await this.ipBatch(bridgeLines(env, mac))
    if (env.families.some(({ subnet }) => subnet.includes(':'))) await this.sysctl(noDuplicates(bridge))
    await this.ipBatch(bridgeAddressLines(env))
  }

  async #noSubnet(what: string): Promise<Error> {
    const log = await readFile(this.paths.log, 'utf8').catch(() => '')
    return new Error(`daemon of ${this.label} ${what}:\n${log.slice(-2_000)}`)
  }
}
