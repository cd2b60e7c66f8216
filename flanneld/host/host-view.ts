import { isDeepStrictEqual } from 'node:util'
import type { ExternalInterface, HostFacts } from '../../backends/backend.ts'
import type { HostInterface, HostKernel } from '../../kernel/host.ts'
import { ROUTE_PROTOCOL } from '../../kernel/objects.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import { type Cidr, cidrOf, type IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { Latest } from '../../lib/latest.ts'
import { emptySurroundings, type Surroundings } from '../../subnet/surroundings.ts'
import type { Lease } from '../../subnet/types.ts'
import { DirectPaths } from './direct-paths.ts'
import type { HostSurroundings, SurroundingsInput } from './host-surroundings.ts'
import type { Kept } from './kept-choice.ts'
import { occupiedBy } from './occupied.ts'

/** Kernel events come in bursts; the host is read once after each. */
const QUIET_MS = 100
/** Between two tries to read a host that cannot be read. */
const RETRY_MS = 1_000

const NOT_LOOKED_UP: HostFacts['reach'] = new Map()

/** What the plan must know of this host, read again whenever the kernel says that something other than our own objects has changed. */
export class HostView {
  /** Counts changes of the facts. */
  readonly changes = new Latest<number>('host facts')
  readonly paths: DirectPaths
  readonly #kernel: HostKernel
  readonly #clock: Clock
  readonly #choose: (interfaces: readonly HostInterface[]) => Promise<Kept>
  readonly #surroundings: HostSurroundings | undefined
  readonly #dirty = new Latest<number>('host changed')
  #interfaces: readonly HostInterface[] = []
  #ownAddresses: HostFacts['ownAddresses'] = new Set()
  #loopbackAddresses: HostFacts['loopbackAddresses']
  #devices: HostFacts['devices'] = new Map()
  #onLink: readonly Cidr[] = []
  #hasNexthops: boolean | undefined
  #external: ExternalInterface | undefined
  #choice: Kept | undefined
  #count = 0
  #digest = ''
  #routesChanged = false

  /** `choose` picks the external interface or keeps it; it throws when none has ever fitted. */
  constructor(needs: {
    kernel: HostKernel
    clock: Clock
    choose: (interfaces: readonly HostInterface[]) => Promise<Kept>
    surroundings?: HostSurroundings
  }) {
    this.#kernel = needs.kernel
    this.#clock = needs.clock
    this.#choose = needs.choose
    this.#surroundings = needs.surroundings
    this.paths = new DirectPaths({ port: needs.kernel, clock: needs.clock })
  }

  /** Reads the host and looks for the external interface. Throws when none has ever fitted. */
  async read(): Promise<void> {
    this.#interfaces = await this.#kernel.listInterfaces()
    this.#choice = await this.#choose(this.#interfaces)
    const { external } = this.#choice
    // The same values stay the same objects: whoever compares them sees at once that nothing has changed.
    if (!isDeepStrictEqual(external, this.#external)) this.#external = external
    const uplinks = this.#interfaces.filter(({ name }) => name === external.name)
    const onLink = [...new Set(uplinks.flatMap(rangesOf))].sort()
    if (onLink.join() !== this.#onLink.join()) this.#onLink = onLink
    const ownAddresses = new Set(this.#interfaces.flatMap((device) => device.addresses.map(plain)))
    const loopback = this.#interfaces.find(({ loopback }) => loopback)
    const loopbackAddresses = loopback && new Set(loopback.addresses.map(plain))
    if (!isDeepStrictEqual(loopbackAddresses, this.#loopbackAddresses)) this.#loopbackAddresses = loopbackAddresses
    // Somebody else's bridge of our name lends us nothing.
    const devices = new Map(
      this.#interfaces.flatMap(({ name, mac, driver }) =>
        driver === undefined ? [] : [[name, { driver, ...(mac !== undefined && { mac }) }] as const],
      ),
    )
    if (!isDeepStrictEqual(ownAddresses, this.#ownAddresses)) this.#ownAddresses = ownAddresses
    if (!isDeepStrictEqual(devices, this.#devices)) this.#devices = devices
    // The kernel stays the same one.
    this.#hasNexthops ??= await this.#kernel.hasNexthops()
    if (await this.#surroundings?.read()) this.#routesChanged = true
  }

  hasFou(): Promise<boolean> {
    return this.#kernel.hasFou()
  }

  /** Whether the kernel has nexthop objects; as of the first reading. */
  get hasNexthops(): boolean {
    return this.#hasNexthops ?? false
  }

  get interfaces(): readonly HostInterface[] {
    return this.#interfaces
  }

  get external(): ExternalInterface {
    if (this.#external === undefined) throw new TypeError('the host was not read yet')
    return this.#external
  }

  /** Tunnel devices, as of the last reading. */
  get devices(): HostFacts['devices'] {
    return this.#devices
  }

  get ownAddresses(): HostFacts['ownAddresses'] {
    return this.#ownAddresses
  }

  /** Why the external interface is that one, and what is wrong with it. */
  get choice(): Kept | undefined {
    return this.#choice
  }

  /** What the harm rule must know of this host. The same object while nothing of it has changed. */
  surroundings(more: Pick<SurroundingsInput, 'ours' | 'keptOurs' | 'storeAddresses' | 'isPlanned'>): Surroundings {
    const { interfaces, external } = this
    return this.#surroundings?.of({ ...more, interfaces, uplink: external.name }) ?? emptySurroundings
  }

  /** `peers`: whose reachability matters, unless it is unused; `originals`: sysctls that are changed now, with the host's own values. */
  async facts(
    peers: ReadonlyMap<string, Lease>,
    reach: 'unused' | 'lookup' | 'probe',
    originals: ReadonlyMap<string, string> = new Map(),
  ): Promise<HostFacts> {
    const known = reach === 'unused' ? NOT_LOOKED_UP : await this.paths.resolve(peers, reach === 'probe')
    return {
      external: this.external,
      reach: known,
      onLink: this.#onLink,
      ownAddresses: this.#ownAddresses,
      ...(this.#loopbackAddresses && { loopbackAddresses: this.#loopbackAddresses }),
      strictReversePath: reach === 'probe' && this.#isStrict(originals),
      devices: this.#devices,
      nexthops: this.hasNexthops,
    }
  }

  /** What is enabled has changed, and with it what is looked for. */
  lookAgain(): void {
    this.#touch()
  }

  /** `ours`: names of our devices, whose changes are the reconciler's business. */
  onEvents(events: readonly KernelEvent[], ours: ReadonlySet<string>): void {
    if (!events.some((event) => concernsHost(event, ours))) return
    this.#surroundings?.onEvents(events)
    this.#routesChanged ||= events.some((event) => event.type === 'object' && event.object.kind === 'route')
    this.#touch()
  }

  /** Until the signal is aborted; `onRead` hears after each reading, of its fault where it had one. */
  async run(signal: AbortSignal, onRead: (fault: unknown) => void): Promise<void> {
    onRead(undefined)
    this.#touchAt(this.#choice?.dueAt, signal)
    for await (const count of this.#dirty.watch(signal)) {
      await this.#clock.sleep(QUIET_MS, signal).catch(() => {})
      if (signal.aborted) return
      try {
        await this.read()
        onRead(undefined)
        this.#touchAt(this.#choice?.dueAt, signal)
      } catch (cause) {
        onRead(cause)
        this.#touchAt(this.#clock.now() + RETRY_MS, signal)
      }
      if (this.#hasChanged()) this.changes.set(count)
    }
  }

  /** Reads again then, even if nothing happens until then, unless another reading comes first. */
  #touchAt(due: number | undefined, signal: AbortSignal): void {
    if (due === undefined) return
    const reading = this.#count
    const touch = () => {
      if (this.#count === reading) this.#touch()
    }
    this.#clock.sleep(Math.max(0, due - QUIET_MS - this.#clock.now()), signal).then(touch, () => {})
  }

  #touch(): void {
    this.#count += 1
    this.#dirty.set(this.#count)
  }

  /** The larger of the two values counts. Source: Documentation/networking/ip-sysctl.rst of Linux, rp_filter. */
  #isStrict(originals: ReadonlyMap<string, string>): boolean {
    const paths = ['all', this.external.name].map((name) => `net/ipv4/conf/${name}/rp_filter`)
    return Math.max(...paths.map((path) => Number(originals.get(path) ?? this.#kernel.sysctl(path) ?? 0))) === 1
  }

  // Containers come and go by the dozen; only what has an address of its own can change a path to a peer.
  #hasChanged(): boolean {
    const addressed = this.#interfaces.map(
      ({ name, up, mtu, addresses }) => [name, up, mtu, addresses.map(plain)] as const,
    )
    const digest = JSON.stringify([
      addressed.filter(([, , , addresses]) => addresses.some(isGlobal)),
      this.#external && [this.#external, [...this.#external.addresses], [...this.#external.publicIps]],
      this.#onLink,
      // Containers may hold up a change of the configuration.
      occupiedBy(this.#interfaces),
    ])
    const changed = this.#routesChanged || digest !== this.#digest
    this.#digest = digest
    this.#routesChanged = false
    if (changed) this.paths.routesChanged()
    return changed
  }
}

function plain(entry: { readonly address: IpAddr }): IpAddr {
  return entry.address
}

function rangesOf({ addresses }: HostInterface): readonly Cidr[] {
  return addresses.filter(({ address }) => isGlobal(address)).map(({ address, length }) => cidrOf(address, length))
}

function isGlobal(address: IpAddr): boolean {
  return !address.startsWith('fe80:')
}

function concernsHost(event: KernelEvent, ours: ReadonlySet<string>): boolean {
  if (event.type === 'overrun') return true
  if (event.type === 'kinds') return false
  if (event.type === 'device') return !ours.has(event.name)
  const { object } = event
  switch (object.kind) {
    case 'link':
      return !ours.has(object.name)
    case 'address':
      return !ours.has(object.device)
    case 'route':
      return object.protocol !== ROUTE_PROTOCOL && !ours.has(object.device ?? '')
    default:
      return false
  }
}
