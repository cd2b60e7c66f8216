import type { HostInterface, HostKernel, HostRouteEntry, NearbyRoutes } from '../../kernel/host.ts'
import { LOOPBACK } from '../../kernel/kinds/address/kind.ts'
import { BOOT_PROTOCOL, defaultMetric, keyOf, ROUTE_PROTOCOL } from '../../kernel/objects.ts'
import type { KernelEvent } from '../../kernel/table.ts'
import { type Cidr, cidrOf, contains, familyOf, type IpAddr, overlaps, prefixLength } from '../../lib/address.ts'
import type { ContainerDevice, HostRoute, NeededAddress, Surroundings } from '../../subnet/surroundings.ts'

import { isGateway } from './occupied.ts'

export interface SurroundingsInput {
  readonly interfaces: readonly HostInterface[]
  /** Name of the external interface: a bridge that is one has no containers. */
  readonly uplink: string
  /** Names of our devices. */
  readonly ours: ReadonlySet<string>
  /** ADDRESS/LENGTH: addresses on the loopback device that this program has put there. */
  readonly keptOurs: ReadonlySet<string>
  /** Of the store's endpoints, as far as they are known. */
  readonly storeAddresses: readonly IpAddr[]
  /**
   * Whether the last plan has a route at this key (`keyOf`). One of protocol boot there came later, and the reconciler takes its place
   * again. One of another program stays there, and the peer is judged by it, as after a restart.
   */
  readonly isPlanned: (key: string) => boolean
}

const RTN_UNICAST = 1
const RTN_BLACKHOLE = 6
const TYPE_NAMES: Readonly<Record<number, string>> = {
  2: 'local',
  3: 'broadcast',
  5: 'multicast',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
  9: 'throw',
}

/** What of this host the harm rule must know. The routes are read again only after an event that may concern them. */
export class HostSurroundings {
  readonly #kernel: Pick<HostKernel, 'routesNear'>
  readonly #networksNow: () => readonly Cidr[]
  #nearby: NearbyRoutes = { routes: [], gateways: [] }
  // A host with a full BGP table has events all the time and needs a second to list its routes.
  #isStale = true
  #readFor = ''
  #routes: { readonly nearby: NearbyRoutes; readonly ours: string; readonly routes: readonly HostRoute[] } | undefined
  /** On the loopback device, put there by this program; as of the last reading of the host some may be there that it has taken away. */
  readonly #kept = new Set<string>()
  #last: { readonly digest: string; readonly value: Surroundings } | undefined

  /** `networks`: those of the overlay, as they are now. */
  constructor(needs: { kernel: Pick<HostKernel, 'routesNear'>; networks: () => readonly Cidr[] }) {
    this.#kernel = needs.kernel
    this.#networksNow = needs.networks
  }

  /** Changes of links and addresses take routes with them without an event for each. */
  onEvents(events: readonly KernelEvent[]): void {
    const networks = this.#networksNow()
    this.#isStale ||= events.some((event) => {
      if (event.type !== 'object') return event.type !== 'kinds'
      const { object } = event
      if (object.kind !== 'route') return object.kind === 'link' || object.kind === 'address'
      if (object.protocol === ROUTE_PROTOCOL) return false
      return networks.some(
        (network) =>
          (prefixLength(object.dst) > 0 && overlaps(network, object.dst)) ||
          (object.via !== undefined && contains(network, object.via)),
      )
    })
  }

  /** True: something else than before. */
  async read(): Promise<boolean> {
    const networks = this.#networksNow()
    if (!this.#isStale && networks.join() === this.#readFor) return false
    // What happens meanwhile is read the next time.
    this.#isStale = false
    try {
      const nearby = await this.#kernel.routesNear(networks)
      this.#readFor = networks.join()
      if (JSON.stringify(nearby) === JSON.stringify(this.#nearby)) return false
      this.#nearby = nearby
      return true
    } catch (cause) {
      this.#isStale = true
      throw cause
    }
  }

  /** The same object while nothing has changed. */
  of(input: SurroundingsInput): Surroundings {
    const routes = this.#foreignRoutes(input)
    const rest = { ...this.#ofInterfaces(input), addresses: this.#addresses(input) }
    const digest = JSON.stringify(rest)
    if (this.#last === undefined || this.#last.digest !== digest || this.#last.value.routes !== routes) {
      this.#last = { digest, value: { ...rest, routes } }
    }
    return this.#last.value
  }

  #foreignRoutes({ ours, isPlanned }: SurroundingsInput): readonly HostRoute[] {
    const names = [...ours].join()
    if (this.#routes?.nearby !== this.#nearby || this.#routes.ours !== names) {
      const isRepaired = ({ protocol, dst, metric }: HostRouteEntry) =>
        protocol === BOOT_PROTOCOL && isPlanned(keyOf({ ...NO_ROUTE, family: familyOf(dst), dst, metric }))
      const foreign = this.#nearby.routes.filter((route) => !isOverlay(route.device, ours) && !isRepaired(route))
      this.#routes = { nearby: this.#nearby, ours: names, routes: foreign.map(hostRoute) }
    }
    return this.#routes.routes
  }

  #addresses({ interfaces, ours, keptOurs, storeAddresses }: SurroundingsInput): readonly NeededAddress[] {
    const networks = this.#networksNow()
    const isInside = (address: IpAddr) => networks.some((network) => contains(network, address))
    this.#remember(keptOurs, interfaces)
    const isKept = (device: string, address: HostInterface['addresses'][number]) =>
      device === LOOPBACK && this.#kept.has(textOf(address))
    const own = interfaces.flatMap(({ name: device, addresses }): NeededAddress[] =>
      isOverlay(device, ours)
        ? []
        : addresses.flatMap((each) =>
            isKept(device, each) ? [] : [{ address: each.address, what: `an address of ${device}`, device }],
          ),
    )
    const gateways = this.#nearby.gateways.flatMap(({ address, device }): NeededAddress[] =>
      isOverlay(device, ours) ? [] : [{ address, what: 'a gateway of this host', ...(device && { device }) }],
    )
    const store = storeAddresses.map((address): NeededAddress => ({ address, what: 'an endpoint of the lease store' }))
    return [...own, ...gateways, ...store].filter(({ address }) => isInside(address))
  }

  #remember(keptOurs: ReadonlySet<string>, interfaces: readonly HostInterface[]): void {
    const loopback = interfaces.find(({ name }) => name === LOOPBACK)
    const there = new Set(loopback?.addresses.map(textOf))
    for (const each of this.#kept) if (!there.has(each)) this.#kept.delete(each)
    for (const each of keptOurs) this.#kept.add(each)
  }

  #ofInterfaces({ interfaces, ours, uplink }: SurroundingsInput) {
    const networks = this.#networksNow()
    const others = interfaces.filter(({ name }) => !isOverlay(name, ours))
    const ownAddresses = new Set(others.flatMap(({ addresses }) => addresses.map(({ address }) => address)))
    const containerDevices = others
      .filter(({ name }) => name !== uplink)
      .flatMap(({ name: device, kind, addresses }): ContainerDevice[] =>
        addresses
          .filter((each) => kind === 'bridge' || isGateway({ kind }, each))
          .map(({ address, length }) => ({ device, address, prefix: cidrOf(address, length) })),
      )
    return {
      ownAddresses: [...ownAddresses],
      containerDevices: containerDevices.filter(({ address }) => networks.some((cidr) => contains(cidr, address))),
    }
  }
}

function textOf({ address, length }: HostInterface['addresses'][number]): string {
  return `${address}/${length}`
}

const NO_ROUTE = { kind: 'route', type: 'unicast', protocol: BOOT_PROTOCOL } as const

/** Ours, or flannel's of another backend: what is there is the overlay's. */
function isOverlay(device: string | undefined, ours: ReadonlySet<string>): boolean {
  return device !== undefined && (ours.has(device) || device.startsWith('flannel'))
}

function hostRoute({ dst, metric, type, device, via, protocol }: HostRouteEntry): HostRoute {
  const boot = protocol === BOOT_PROTOCOL
  const isToPeer = type === RTN_UNICAST && via !== undefined
  const text = [
    ...(type === RTN_UNICAST ? [] : [TYPE_NAMES[type] ?? `type ${type}`]),
    dst,
    ...(via === undefined ? [] : [`via ${via}`]),
    ...(device === undefined ? [] : [`dev ${device}`]),
    ...(metric === 0 ? [] : [`metric ${metric}`]),
  ].join(' ')
  return {
    dst,
    text,
    type: type === RTN_UNICAST ? 'unicast' : type === RTN_BLACKHOLE ? 'blackhole' : 'other',
    adoptable: boot && metric === defaultMetric(familyOf(dst)) && (isToPeer || type === RTN_BLACKHOLE),
    boot,
    ...(device && { device }),
  }
}
