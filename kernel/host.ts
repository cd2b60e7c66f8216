import { type Cidr, FAMILIES, type Family, familyOf, type IpAddr, type MacAddr } from '../lib/address.ts'
import type { LinkDriver } from './kinds/link/drivers/drivers.ts'
import { readSysctl } from './kinds/sysctl/table.ts'
import {
  dumpAddresses,
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_PERMANENT,
  IFA_F_TEMPORARY,
  IFA_F_TENTATIVE,
  parseAddress,
} from './netlink/address-messages.ts'
import type { NetlinkChannel } from './netlink/channel.ts'
import type { DeviceIndex } from './netlink/device-index.ts'
import { FOU_FAMILY } from './netlink/fou-messages.ts'
import type { GenericNetlink } from './netlink/generic.ts'
import { IFF_LOOPBACK, IFF_RUNNING, IFF_UP } from './netlink/link-messages.ts'
import { NearbyRouteFilter } from './netlink/nearby-routes.ts'
import {
  dumpNeighbours,
  parseNeighbour,
  type Resolution,
  resolutionOf,
  useNeighbour,
} from './netlink/neighbour-messages.ts'
import { getNexthop } from './netlink/nexthop-messages.ts'
import {
  dumpRoutes,
  isDefault,
  lookUpRoute,
  parseLookup,
  parseRoute,
  type RouteRecord,
  RTN_UNICAST,
} from './netlink/route-messages.ts'

export interface HostAddress {
  readonly family: Family
  readonly address: IpAddr
  /** Bits of the prefix. */
  readonly length: number
  /** As `ip address` names it. */
  readonly scope: 'global' | 'site' | 'link' | 'host'
  readonly deprecated: boolean
  readonly temporary: boolean
  /** Does not expire: set by hand or by a program, not by DHCP or router advertisements. */
  readonly permanent: boolean
  /** Still being checked for duplicates: nothing can be sent from it for a second or two. */
  readonly tentative: boolean
  /** Another host has it, too: nothing will ever be sent from it. */
  readonly duplicate: boolean
}

export interface HostInterface {
  readonly name: string
  readonly index: number
  /** Bytes. */
  readonly mtu: number
  readonly up: boolean
  /** Up, and with a carrier where it can tell. */
  readonly running: boolean
  readonly loopback: boolean
  readonly mac: MacAddr | undefined
  /** The driver's, as `ip -d link` names it: `vxlan`; empty for hardware. */
  readonly kind: string
  /** Of kinds that this program makes: as what. */
  readonly driver?: LinkDriver
  /** Index of the bridge, bond or VRF that it is a port of; 0: none. */
  readonly master: number
  /** In the kernel's order, which is that of preference within a family. */
  readonly addresses: readonly HostAddress[]
}

/** How the host would send to an address; without `gateway` the address is on the link. */
export interface Path {
  readonly device: string
  /** Source address that the kernel would choose. */
  readonly source: IpAddr
  readonly gateway?: IpAddr
}

/** A route of the main table that is not ours. */
export interface HostRouteEntry {
  readonly dst: Cidr
  readonly metric: number
  /** RTN_* number. */
  readonly type: number
  readonly device?: string
  readonly via?: IpAddr
  /** RTPROT_* number. */
  readonly protocol: number
}

/** What of the host's routes concerns some networks. */
export interface NearbyRoutes {
  /** Inside a network, or around a part of one; no default routes. */
  readonly routes: readonly HostRouteEntry[]
  /** Inside a network, of whatever route, of every path where it has several. */
  readonly gateways: readonly { readonly address: IpAddr; readonly device: string | undefined }[]
}

export interface NeighbourState {
  readonly device: string
  readonly address: IpAddr
  readonly state: Resolution
  readonly mac: MacAddr | undefined
}

const SCOPES: Readonly<Record<number, HostAddress['scope']>> = { 200: 'site', 253: 'link', 254: 'host', 255: 'host' }

/** A look at the host as it is; changes nothing but the kernel's own neighbour resolution. Every method may throw an OpFailure. */
export class HostKernel {
  readonly #channel: NetlinkChannel
  readonly #devices: DeviceIndex
  readonly #generic: GenericNetlink | undefined

  constructor(needs: { channel: NetlinkChannel; devices: DeviceIndex; generic: GenericNetlink | undefined }) {
    this.#channel = needs.channel
    this.#devices = needs.devices
    this.#generic = needs.generic
  }

  /** Whether the kernel unwraps packets from UDP by itself: its module fou is there and loaded. */
  async hasFou(): Promise<boolean> {
    return (await this.#generic?.familyOf(FOU_FAMILY)) !== undefined
  }

  /** Whether the kernel has nexthop objects: Linux does from 5.3 on. */
  async hasNexthops(): Promise<boolean> {
    const [refusal] = await this.#channel.request([getNexthop(1)])
    return refusal === undefined || refusal.code === 'ENOENT'
  }

  /** The present value; undefined where there is none. `path` as in `net/ipv4/conf/eth0/rp_filter`. Read at once: behind it is no disk. */
  sysctl(path: string): string | undefined {
    return readSysctl(path)
  }

  async listInterfaces(): Promise<readonly HostInterface[]> {
    const links = await this.#devices.refresh()
    const addresses = new Map<number, HostAddress[]>(links.map(({ index }) => [index, []]))
    for (const { index, scope, flags, family, address, length } of await this.#channel.dump(
      dumpAddresses(),
      parseAddress,
    )) {
      addresses.get(index)?.push({
        family,
        address,
        length,
        scope: SCOPES[scope] ?? 'global',
        deprecated: (flags & IFA_F_DEPRECATED) !== 0,
        // The same bit says "secondary" of an IPv4 address.
        temporary: family === 6 && (flags & IFA_F_TEMPORARY) !== 0,
        permanent: (flags & IFA_F_PERMANENT) !== 0,
        tentative: (flags & IFA_F_TENTATIVE) !== 0,
        duplicate: (flags & IFA_F_DADFAILED) !== 0,
      })
    }
    return links.map(({ index, name, mtu, flags, mac, kind, made, master }) => ({
      name,
      index,
      mtu,
      up: (flags & IFF_UP) !== 0,
      running: (flags & IFF_RUNNING) !== 0,
      loopback: (flags & IFF_LOOPBACK) !== 0,
      mac,
      kind,
      ...(made && { driver: made.driver }),
      master,
      addresses: addresses.get(index) ?? [],
    }))
  }

  /** Devices of the default routes, the one that the kernel prefers first. */
  async defaultRouteDevices(family: Family): Promise<readonly string[]> {
    const routes = await this.#channel.dump(dumpRoutes(family), (message) => {
      // By its length alone, before anything is made of it: there may be a million others.
      const route = isDefault(message) ? parseRoute(message) : undefined
      return route?.type === RTN_UNICAST ? route : undefined
    })
    await this.#nameAll(routes.map(({ index }) => index))
    const inOrder = routes.sort((a, b) => a.metric - b.metric)
    return inOrder.flatMap(({ index }) => this.#devices.nameOf(index) ?? [])
  }

  /** Undefined: no route, or no address to send from. */
  async routeTo(address: IpAddr): Promise<Path | undefined> {
    return (await this.routesTo([address]))[0]
  }

  /** One answer per address, in order; 5,000 take some tens of milliseconds. */
  async routesTo(addresses: readonly IpAddr[]): Promise<readonly (Path | undefined)[]> {
    const found: (RouteRecord | undefined)[] = addresses.map(() => undefined)
    const questions = addresses.map((address) => lookUpRoute(familyOf(address), address))
    await this.#channel.request(questions, (index, message) => {
      found[index] = parseLookup(message)
    })
    await this.#nameAll(found.flatMap((record) => (record === undefined ? [] : [record.index])))
    return found.map((record) => record && this.#pathOf(record))
  }

  /** Not ours, and few of however many the host has. */
  async routesNear(networks: readonly Cidr[]): Promise<NearbyRoutes> {
    const filter = new NearbyRouteFilter(networks)
    const records: RouteRecord[] = []
    // A route may have its gateways in the other family, too.
    for (const family of FAMILIES) {
      const found = await this.#channel.dump(dumpRoutes(family), (message) => filter.parse(message))
      records.push(...found)
    }
    await this.#nameAll([...records, ...filter.gateways].map(({ index }) => index))
    return {
      routes: records.map(({ dst, metric, type, index, via, protocol }) => {
        const device = this.#devices.nameOf(index)
        return { dst, metric, type, protocol, ...(device && { device }), ...(via && { via }) }
      }),
      gateways: filter.gateways.map(({ address, index }) => ({ address, device: this.#devices.nameOf(index) })),
    }
  }

  /** Makes the kernel find out the hardware address as if a packet were to be sent; what comes of it is a neighbour event. */
  askNeighbour(device: string, address: IpAddr): void {
    const index = this.#devices.indexOf(device)
    // A device that is gone has no neighbours, and its routes are looked up anew.
    if (index !== undefined) void this.#channel.request([useNeighbour({ family: familyOf(address), address }, index)])
  }

  async neighbourStates(device: string): Promise<readonly NeighbourState[]> {
    const index = this.#devices.indexOf(device) ?? (await this.#devices.look(device))?.index
    if (index === undefined) return []
    const records = await this.#channel.dump(dumpNeighbours(index), parseNeighbour)
    return records.flatMap((record) => {
      const { address, mac } = record
      if (record.index !== index || address === undefined) return []
      return [{ device, address, state: resolutionOf(record), mac }]
    })
  }

  #pathOf(record: RouteRecord): Path | undefined {
    const device = this.#devices.nameOf(record.index)
    const { source } = record
    if (device === undefined || source === undefined) return undefined
    return { device, source, ...(record.via === undefined ? {} : { gateway: record.via }) }
  }

  async #nameAll(indexes: readonly number[]): Promise<void> {
    if (indexes.some((index) => index > 0 && this.#devices.nameOf(index) === undefined)) await this.#devices.refresh()
  }
}
