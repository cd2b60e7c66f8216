import { wholeContent } from '../../kernel/kinds/file/kind.ts'
import { type GuardPeer, samePath, sameSender } from '../../kernel/kinds/guard-peer/kind.ts'
import { underlayOf } from '../../kernel/kinds/link/drivers/drivers.ts'
import type { VxlanDriver } from '../../kernel/kinds/link/drivers/vxlan.ts'
import type { Nexthop } from '../../kernel/kinds/nexthop/kind.ts'
import { APPLY_ORDER } from '../../kernel/kinds/order.ts'
import {
  type Address,
  compare,
  deviceOf,
  type KernelObject,
  keyOf,
  type Link,
  type LinkDriver,
  type ObjectKind,
  type Route,
  type StateFile,
} from '../../kernel/objects.ts'
import type { KernelEvent, ObjectTable, Op } from '../../kernel/table.ts'
import type { IpAddr, MacAddr } from '../../lib/address.ts'
import { cidrOf, contains, familyOf, parseMac } from '../../lib/address.ts'
import { FakeTable } from './kernel-table.ts'
import { Makers } from './makers.ts'

/** One call into the kernel, numbered from 0: a dump, or one op of a batch. */
export interface KernelCall {
  readonly index: number
  readonly kind: ObjectKind
  readonly verb: Op<KernelObject>['verb'] | 'dump'
}

/** errno name to answer with; `done`: the kernel did it all the same, only the answer was lost. */
export interface Fault {
  readonly code: string
  readonly done?: boolean
}

const KERNEL_PROTOCOL = 2

/**
 * A network namespace in memory, with Linux's refusals and cascades (each is a case of the conformance suite, which runs
 * on a real namespace too) and with the events that a monitor would see, own changes included, a turn of the event loop later.
 */
export class FakeKernel {
  readonly tables: readonly ObjectTable[] = this.tablesOf('the test')
  readonly makers = new Makers()
  readonly calls: KernelCall[] = []
  /** Asked before every call. */
  fault: (call: KernelCall) => Fault | undefined = () => undefined
  /** What a program that is run for this kind waits for; undefined: nothing. */
  hang: (kind: ObjectKind, work: 'dump' | 'apply') => Promise<void> | undefined = () => undefined
  /** Where events go; undefined: nobody listens. */
  onEvents: ((events: readonly KernelEvent[]) => void) | undefined
  /** Events that happen while this is true are lost, as by a monitor that is not there yet. */
  deaf = false
  /** Counts changes. */
  version = 0
  /** rp_filter that a device is born with. */
  newDeviceReversePath = '0'
  readonly #objects = new Map<ObjectKind, Map<string, KernelObject>>(APPLY_ORDER.map((kind) => [kind, new Map()]))
  #queue: KernelEvent[] = []
  #macs = 0

  /** As one program holds them. */
  tablesOf(maker: string): readonly ObjectTable[] {
    return APPLY_ORDER.map((kind) => new FakeTable(this, kind, maker))
  }

  all(kind: ObjectKind): KernelObject[] {
    return [...this.#of(kind).values()]
  }

  get(key: string): KernelObject | undefined {
    return this.#of(key.slice(0, key.indexOf(' ')) as ObjectKind).get(key)
  }

  call(kind: ObjectKind, verb: KernelCall['verb']): Fault | undefined {
    const call = { index: this.calls.length, kind, verb }
    this.calls.push(call)
    return this.fault(call)
  }

  /** Does what the kernel would do; returns the errno name of its refusal. */
  change(op: Op<KernelObject>): string | undefined {
    const { object } = op
    if (op.verb === 'remove') return this.#remove(object)
    if (op.verb === 'recreate') {
      const obstacle = object.kind === 'link' ? this.#obstacleTo(object) : undefined
      return obstacle ?? this.#remove(op.actual) ?? this.change({ verb: 'create', object })
    }
    if (object.kind === 'sysctl' || object.kind === 'file') return this.#write(object)
    if (object.kind === 'guard-peer') return this.#putGuardPeer(object)
    const refusal = this.#refusal(object, op.verb === 'create')
    if (refusal !== undefined) return refusal
    if (object.kind === 'link') this.#putLink(object)
    else this.put(object)
    if (object.kind === 'address') this.#addConnectedRoute(object)
    return undefined
  }

  /** Puts an object there whatever the kernel would say: for what other programs did. */
  put(object: KernelObject, options: { silent?: boolean } = {}): void {
    const bare = { ...object } as KernelObject & { role?: unknown }
    delete bare.role
    this.#of(object.kind).set(keyOf(object), bare)
    this.version += 1
    if (!options.silent) this.#emit({ type: 'object', present: true, object: bare })
  }

  /** Removes an object with all that the kernel removes along with it; unknown keys are ignored. */
  delete(key: string): void {
    const object = this.get(key)
    if (object !== undefined) this.#remove(object)
  }

  /** A device of a kind that the program never makes, up. */
  addDevice(name: string, fields: Partial<Link> = {}): void {
    this.#putLink({ kind: 'link', name, mtu: 1500, up: true, driver: { type: 'other', name: 'bridge' }, ...fields })
  }

  changeDevice(name: string, fields: Partial<Link>): void {
    const link = this.get(`link ${name}`)
    if (link?.kind === 'link') this.#putLink({ ...link, ...fields })
  }

  /** The monitor's queue overflows: what is in it is lost. */
  overrun(): void {
    this.#queue = []
    this.#emit({ type: 'overrun' })
  }

  #of(kind: ObjectKind): Map<string, KernelObject> {
    const objects = this.#objects.get(kind)
    if (objects === undefined) throw new TypeError(`no such kind: ${kind}`)
    return objects
  }

  #refusal(object: KernelObject, create: boolean): string | undefined {
    const device = deviceOf(object)
    if (device !== undefined && !this.#of('link').has(`link ${device}`)) return 'ENODEV'
    const there = this.#of(object.kind).has(keyOf(object))
    if (create && there) return object.kind === 'fou-port' ? 'EADDRINUSE' : 'EEXIST'
    if (!create && !there) return object.kind === 'link' ? 'ENODEV' : 'ENOENT'
    if (object.kind === 'link') return this.#linkRefusal(object)
    // As nft says it: its rules name sets that are not there.
    if (object.kind === 'guard-chains' && !this.get(`guard-sets ${object.table}`)) return 'ESTALE'
    if (object.kind === 'route') return this.#routeRefusal(object)
    if (object.kind === 'nexthop' && !this.#isUp(object.device)) return 'ENETDOWN'
    return undefined
  }

  #linkRefusal({ name, driver }: Link): string | undefined {
    if (driver.type === 'other') return 'EOPNOTSUPP'
    if (underlayOf(driver) !== undefined && this.get(`link ${underlayOf(driver)}`) === undefined) return 'ENODEV'
    for (const other of this.all('link')) {
      if (other.kind === 'link' && other.name !== name && excludeEachOther(other.driver, driver)) return 'EEXIST'
    }
    return undefined
  }

  /** What the table of devices looks at before it deletes one. */
  #obstacleTo({ driver }: Link): string | undefined {
    const underlay = this.get(`link ${underlayOf(driver)}`)
    if (underlayOf(driver) !== undefined && underlay === undefined) return 'ENODEV'
    if (underlay?.kind === 'link' && !underlay.up) return 'ENETDOWN'
    const local = 'local' in driver ? driver.local : undefined
    const isOwn = this.all('address').some((own) => own.kind === 'address' && own.address === local)
    return local === undefined || isOwn ? undefined : 'EADDRNOTAVAIL'
  }

  #isUp(device: string | undefined): boolean {
    const link = this.get(`link ${device}`)
    return link?.kind === 'link' && link.up
  }

  #routeRefusal(route: Route): string | undefined {
    const { type, device, via, onLink, family } = route
    if (type === 'blackhole') return undefined
    if (route.nexthop !== undefined) return this.get(`nexthop ${device} ${via}`) === undefined ? 'ESTALE' : undefined
    if (!this.#isUp(device)) return 'ENETDOWN'
    if (via === undefined || onLink) return undefined
    const reachable = this.all('route').some(
      (route) =>
        route.kind === 'route' && route.device === device && route.via === undefined && contains(route.dst, via),
    )
    if (reachable) return undefined
    return family === 4 ? 'ENETUNREACH' : 'EHOSTUNREACH'
  }

  // An element stands in a set once, under the name that came last.
  #putGuardPeer(peer: GuardPeer): string | undefined {
    if (this.get(`guard-sets ${peer.table}`) === undefined) return 'ENOENT'
    for (const other of this.all('guard-peer') as GuardPeer[]) {
      if (other.table !== peer.table || other.name === peer.name) continue
      const vteps = other.vteps.filter((vtep) => !peer.vteps.includes(vtep))
      const paths = other.paths.filter((path) => !peer.paths.some((taken) => samePath(path, taken)))
      const senders = other.senders.filter((sender) => !peer.senders.some((taken) => sameSender(sender, taken)))
      const subnets = other.subnets.filter((subnet) => !peer.subnets.includes(subnet))
      if (vteps.length + senders.length + paths.length + subnets.length === 0) this.delete(keyOf(other))
      else this.put({ ...other, vteps, senders, paths, subnets }, { silent: true })
    }
    // What the kernel holds does not say which address was an alias.
    const { aliases, ...held } = peer
    const isTaken = (vtep: IpAddr) =>
      this.all('guard-peer').some((other) => 'vteps' in other && other.name !== peer.name && other.vteps.includes(vtep))
    this.put({ ...held, vteps: [...peer.vteps, ...(aliases ?? []).filter((vtep) => !isTaken(vtep))] })
    return undefined
  }

  #guardGone(table: string): void {
    for (const kind of ['guard-chains', 'guard-peer'] as const) {
      for (const object of this.all(kind)) if ('table' in object && object.table === table) this.#remove(object)
    }
  }

  #write(object: KernelObject): string | undefined {
    const device = deviceOf(object)
    if (device !== undefined && device !== 'all' && device !== 'default' && !this.#of('link').has(`link ${device}`)) {
      return 'ENOENT'
    }
    this.put(object.kind === 'file' ? this.#asWritten(object) : object, { silent: true })
    return undefined
  }

  #asWritten(wanted: StateFile): StateFile {
    const { keeps: _, ...file } = wanted
    const found = this.get(keyOf(file))
    return { ...file, content: wholeContent(wanted, found?.kind === 'file' ? found.content : '') }
  }

  #putLink(link: Link): void {
    const before = this.get(`link ${link.name}`)
    // What carries bare packets has no hardware address.
    const mac =
      link.driver.type === 'ipip' || link.driver.type === 'tun'
        ? undefined
        : (link.mac ?? (before?.kind === 'link' ? before.mac : undefined) ?? this.#newMac())
    this.put({ ...link, ...(mac === undefined ? {} : { mac }) })
    this.#emit({ type: 'device', name: link.name })
    if (before?.kind !== 'link') {
      this.put(
        { kind: 'sysctl', path: `net/ipv4/conf/${link.name}/rp_filter`, value: this.newDeviceReversePath },
        { silent: true },
      )
      return
    }
    if (before.up && !link.up) this.#wentDown(link.name)
    // Permanent entries go with the old hardware address.
    else if (before.mac !== mac) this.#vanish(['neighbour'], { device: link.name })
  }

  #wentDown(device: string): void {
    this.#vanish(['nexthop'], { device, silent: true })
    this.#vanish(['route'], { device, family: 4, silent: true })
    this.#vanish(['route', 'address'], { device, family: 6 })
    this.#vanish(['neighbour'], { device })
  }

  #remove(object: KernelObject): string | undefined {
    const key = keyOf(object)
    const actual = this.get(key)
    const device = deviceOf(object)
    if (device !== undefined && this.get(`link ${device}`) === undefined) return 'ENODEV'
    if (actual === undefined || compare(actual, object) === 'recreate') return NOT_THERE[object.kind]
    if (object.kind === 'route' && compare(actual, object) !== 'same') return NOT_THERE.route
    // Linux 6.18 answers "done" and does nothing.
    if (object.kind === 'fdb' && compare(actual, object) !== 'same') return undefined
    this.#of(object.kind).delete(key)
    this.makers.gone(key)
    this.version += 1
    this.#emit({ type: 'object', present: false, object: actual })
    if (object.kind === 'address') this.#addressGone(object)
    if (object.kind === 'link') this.#deviceGone(object.name)
    if (object.kind === 'nexthop') this.#nexthopGone(object)
    if (object.kind === 'guard-sets') this.#guardGone(object.table)
    return undefined
  }

  #deviceGone(device: string): void {
    this.#emit({ type: 'device', name: device })
    this.#vanish(['nexthop'], { device, silent: true })
    this.#vanish(['route'], { device, family: 4, silent: true })
    this.#vanish(['sysctl'], { device, silent: true })
    this.#vanish(['fdb', 'route', 'address', 'neighbour'], { device })
    for (const link of this.all('link')) {
      if (link.kind === 'link' && link.driver.type === 'vxlan' && link.driver.underlay === device) this.#remove(link)
    }
  }

  #addConnectedRoute(address: Address): void {
    const { family, device, length } = address
    if (family === 4 && length === 32) return
    this.put({
      kind: 'route',
      family,
      dst: cidrOf(address.address, length),
      metric: family === 4 ? 0 : 256,
      type: 'unicast',
      device,
      protocol: KERNEL_PROTOCOL,
      ...(family === 4 ? { scope: 'link' as const } : {}),
    })
  }

  #addressGone({ family, device, address, length }: Address): void {
    const connected = `route ${cidrOf(address, length)} metric ${family === 4 ? 0 : 256}`
    const route = this.get(connected)
    if (route?.kind === 'route' && route.protocol === KERNEL_PROTOCOL && route.device === device) this.#remove(route)
    const rest = this.all('address').some(
      (other) => other.kind === 'address' && other.device === device && other.family === 4,
    )
    if (family === 6 || rest) return
    // Without an address the device no longer speaks IPv4, but for what goes through nexthop objects.
    this.#vanish(['route'], { device, family: 4, silent: true, inline: true })
    this.#vanish(['neighbour'], { device, family: 4 })
  }

  #nexthopGone({ device, via }: Nexthop): void {
    this.#vanish(['route'], { device, via, family: 4, silent: true })
    this.#vanish(['route'], { device, via, family: 6 })
  }

  #vanish(
    kinds: readonly ObjectKind[],
    where: {
      device: string
      family?: number
      silent?: boolean
      /** Only routes through no nexthop object. */
      inline?: boolean
      /** Only routes through the nexthop object of this gateway. */
      via?: IpAddr
    },
  ): void {
    for (const kind of kinds) {
      for (const object of this.all(kind)) {
        if (deviceOf(object) !== where.device) continue
        if (where.family !== undefined && 'family' in object && object.family !== where.family) continue
        if (object.kind === 'route' && where.inline && object.nexthop !== undefined) continue
        if (object.kind === 'route' && where.via && (object.nexthop !== 'own' || object.via !== where.via)) continue
        this.#of(kind).delete(keyOf(object))
        this.makers.gone(keyOf(object))
        this.version += 1
        if (!where.silent) this.#emit({ type: 'object', present: false, object })
      }
    }
  }

  #newMac(): MacAddr {
    this.#macs += 1
    const mac = parseMac(
      `02:00:00:00:${(this.#macs >> 8).toString(16).padStart(2, '0')}:${(this.#macs & 255).toString(16).padStart(2, '0')}`,
    )
    if (mac === undefined) throw new RangeError('out of addresses')
    return mac
  }

  #emit(event: KernelEvent): void {
    if (this.deaf || this.onEvents === undefined) return
    if (this.#queue.length === 0) setImmediate(() => this.#deliver())
    this.#queue.push(event)
  }

  #deliver(): void {
    const events = this.#queue
    this.#queue = []
    if (events.length > 0) this.onEvents?.(events)
  }
}

/** What tells the devices of one driver apart when a packet comes in. */
function excludeEachOther(a: LinkDriver, b: LinkDriver): boolean {
  // Source: vxlan_config_validate of drivers/net/vxlan/vxlan_core.c.
  if (a.type === 'vxlan' && b.type === 'vxlan')
    return a.vni === b.vni && a.port === b.port && isOverIpv6(a) === isOverIpv6(b)
  if (a.type !== 'ipip' || b.type !== 'ipip') return false
  return a.local === b.local && a.remote === b.remote && a.underlay === b.underlay
}

function isOverIpv6({ local }: VxlanDriver): boolean {
  return local !== undefined && familyOf(local) === 6
}

const NOT_THERE: Readonly<Record<ObjectKind, string>> = {
  'fou-port': 'ENOENT',
  link: 'ENODEV',
  address: 'EADDRNOTAVAIL',
  'udp-peer': 'ENOENT',
  'udp-proxy': 'ENOENT',
  nexthop: 'ENOENT',
  route: 'ESRCH',
  'probe-route': 'ESRCH',
  'probe-rule': 'ENOENT',
  neighbour: 'ENOENT',
  fdb: 'ENOENT',
  sysctl: 'ENOENT',
  'nft-table': 'ENOENT',
  'iptables-chain': 'ENOENT',
  'guard-sets': 'ENOENT',
  'guard-peer': 'ENOENT',
  'guard-chains': 'ENOENT',
  file: 'ENOENT',
}
