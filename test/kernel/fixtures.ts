import assert from 'node:assert/strict'
import type { DesiredState } from '../../kernel/desired.ts'
import type { VxlanDriver } from '../../kernel/kinds/link/drivers/vxlan.ts'
import type { Nexthop } from '../../kernel/kinds/nexthop/kind.ts'
import { APPLY_ORDER } from '../../kernel/kinds/order.ts'
import type { ProbeRoute } from '../../kernel/kinds/probe-route/kind.ts'
import type { ProbeRule } from '../../kernel/kinds/probe-rule/kind.ts'
import { PROBE_PORTS } from '../../kernel/kinds/probe-rule/ports.ts'
import {
  type Address,
  BOOT_PROTOCOL,
  compare,
  type DesiredObject,
  type Fdb,
  type FouPort,
  type IpipDriver,
  type KernelObject,
  keyOf,
  type Link,
  type Neighbour,
  ROUTE_PROTOCOL,
  type Route,
  type StateFile,
  type Sysctl,
} from '../../kernel/objects.ts'
import { type Journal, MemoryJournal } from '../../kernel/reconciler/journal.ts'
import { Reconciler, type ReconcilerOptions } from '../../kernel/reconciler/reconciler.ts'
import type { ObjectTable } from '../../kernel/table.ts'
import type { Cidr, Family, IpAddr, MacAddr } from '../../lib/address.ts'
import { familyOf, parseCidr, parseIp, parseMac } from '../../lib/address.ts'
import { silentLogger } from '../../lib/log.ts'
import { settleTasks, VirtualClock } from '../fakes/clock.ts'
import { FakeKernel } from '../fakes/kernel.ts'

export { BOOT_PROTOCOL, ROUTE_PROTOCOL }

export function ip(text: string): IpAddr {
  const parsed = parseIp(text)
  assert(parsed !== undefined, text)
  return parsed
}

export function cidr(text: string): Cidr {
  const parsed = parseCidr(text)
  assert(parsed !== undefined, text)
  return parsed
}

export function mac(number: number): MacAddr {
  const parsed = parseMac(`02:aa:00:00:${hex(number >> 8)}:${hex(number & 255)}`)
  assert(parsed !== undefined)
  return parsed
}

const hex = (byte: number) => byte.toString(16).padStart(2, '0')

const VXLAN: VxlanDriver = {
  type: 'vxlan',
  vni: 1,
  port: 8472,
  learning: false,
  gbp: false,
  underlay: 'eth0',
  local: ip('192.0.2.1'),
}

export function vxlan(name = 'flannel.1', fields: Partial<Link> = {}, driver: Partial<VxlanDriver> = {}): Link {
  return { kind: 'link', name, mtu: 1450, mac: mac(0xffff), up: true, driver: { ...VXLAN, ...driver }, ...fields }
}

export function ipip(name = 'flannel.ipip', driver: Partial<IpipDriver> = {}): Link {
  const plain: IpipDriver = { type: 'ipip', ttl: 0, pathMtuDiscovery: false }
  return { kind: 'link', name, mtu: 1480, up: true, driver: { ...plain, ...driver } }
}

export function tun(name = 'flannel0', persistent = true): Link {
  return { kind: 'link', name, mtu: 1472, up: true, driver: { type: 'tun', persistent } }
}

export function fouPort(port: number, fields: Partial<FouPort> = {}): FouPort {
  return { kind: 'fou-port', port, protocol: 4, ...fields }
}

export function bridge(name: string, fields: Partial<Link> = {}): Link {
  return {
    kind: 'link',
    name,
    mtu: 1500,
    mac: mac(0xeeee),
    up: true,
    driver: { type: 'other', name: 'bridge' },
    ...fields,
  }
}

export function address(text: string, device = 'flannel.1'): Address {
  const [host = '', length] = text.split('/')
  return { kind: 'address', device, family: familyOf(ip(host)), address: ip(host), length: Number(length) }
}

export function route(dst: string, fields: Partial<Route> = {}): Route {
  const family: Family = familyOf(cidr(dst))
  const metric = family === 4 ? 0 : 1024
  return { kind: 'route', family, dst: cidr(dst), metric, type: 'unicast', protocol: ROUTE_PROTOCOL, ...fields }
}

/** The route to a peer's subnet through our vxlan device. */
export function peerRoute(dst: string, fields: Partial<Route> = {}): Route {
  return route(dst, { via: dst.replace(/\/.*/, '') as IpAddr, device: 'flannel.1', onLink: true, ...fields })
}

/** How probes to a peer's subnet go. */
export function probeRoute(dst: string, fields: Partial<ProbeRoute> = {}): ProbeRoute {
  return { kind: 'probe-route', family: familyOf(cidr(dst)), dst: cidr(dst), device: 'flannel.1', ...fields }
}

export function probeRule(from: string, action: ProbeRule['action'] = 'lookup'): ProbeRule {
  return { kind: 'probe-rule', action, from: ip(from), sources: PROBE_PORTS[0].tried }
}

export function nexthop(via: string, device = 'flannel.1'): Nexthop {
  return { kind: 'nexthop', device, via: ip(via) }
}

/** The same route, through the nexthop object. */
export function throughNexthop(object: Route): Route {
  return { ...object, nexthop: 'own' }
}

export function neighbour(text: string, hardware: MacAddr, device = 'flannel.1'): Neighbour {
  return { kind: 'neighbour', family: familyOf(ip(text)), device, address: ip(text), mac: hardware }
}

export function fdb(hardware: MacAddr, dst: string, device = 'flannel.1'): Fdb {
  return { kind: 'fdb', device, mac: hardware, dst: ip(dst) }
}

export function sysctl(path: string, value: string): Sysctl {
  return { kind: 'sysctl', path, value }
}

export function file(content: string, path = '/run/flannel/subnet.env'): StateFile {
  return { kind: 'file', path, content, mode: 0o644 }
}

export function required(object: KernelObject): DesiredObject {
  return { ...object, role: { class: 'required' } }
}

/** Route, neighbour and FDB entry of the peer with this number, 2 to 60,000. */
export function peer(number: number): DesiredObject[] {
  const subnet = `10.${64 + (number >> 8)}.${number & 255}.0/24`
  const host = `192.0.${2 + (number >> 8)}.${number & 255}`
  return [peerRoute(subnet), neighbour(subnet.slice(0, -3), mac(number)), fdb(mac(number), host)].map((object) => ({
    ...object,
    role: { class: 'peer', peer: host },
  }))
}

/** What a host of a vxlan network needs for itself. */
export function local(fields: Partial<Link> = {}, driver: Partial<VxlanDriver> = {}): DesiredObject[] {
  return [
    required(vxlan('flannel.1', fields, driver)),
    { ...sysctl('net/ipv4/conf/flannel.1/rp_filter', '2'), role: { class: 'advisory', remedy: 'set it by hand' } },
    required(address('10.64.1.0/32')),
    required(file('FLANNEL_SUBNET=10.64.1.1/24\n')),
  ]
}

export function desiredOf(objects: readonly DesiredObject[], fields: Partial<DesiredState> = {}): DesiredState {
  return {
    objects: new Map(objects.map((object) => [keyOf(object), object])),
    complete: true,
    scope: { devices: new Set(['flannel.1']), networks: [{ network: cidr('10.64.0.0/10'), subnetLen: 24 }] },
    ...fields,
  }
}

/** Tables that hold these objects, and must not be asked for a change. */
export function tablesHolding(objects: Iterable<KernelObject>): readonly ObjectTable[] {
  const held = [...objects]
  return APPLY_ORDER.map((kind) => ({
    kind,
    dump: async () => held.filter((object) => object.kind === kind),
    apply: () => assert.fail('nothing is to be changed'),
  }))
}

export interface Rig {
  readonly kernel: FakeKernel
  readonly clock: VirtualClock
  readonly reconciler: Reconciler
  readonly lines: string[]
  /** Of passes. */
  readonly faults: unknown[]
  /** Sets the state and lets everything happen that needs no time. */
  want(desired: DesiredState): Promise<number>
  /** Fails unless the kernel holds exactly what is wanted at the wanted keys. */
  assertInPlace(desired: DesiredState): void
}

/** A host with eth0, a reconciler, and a monitor between them. */
export function rig(options: ReconcilerOptions = {}, journal: Journal = new MemoryJournal()): Rig {
  const kernel = new FakeKernel()
  const clock = new VirtualClock()
  const lines: string[] = []
  const faults: unknown[] = []
  const note =
    (severity: string) =>
    (message: string, fields: object = {}) =>
      void lines.push(`${severity} ${message} ${JSON.stringify(fields)}`)
  const log = { ...silentLogger, info: note('info'), warn: note('warn'), error: note('error') }
  kernel.addDevice('eth0')
  kernel.change({ verb: 'create', object: address('192.0.2.1/16', 'eth0') })
  const reconciler = new Reconciler(
    {
      tables: kernel.tables,
      clock,
      log,
      onFault: (cause) => void faults.push(cause),
      journal,
    },
    options,
  )
  kernel.onEvents = (events) => reconciler.onEvents(events)
  return {
    kernel,
    clock,
    reconciler,
    lines,
    faults,
    want: async (desired) => {
      const generation = reconciler.setDesired(desired)
      await settleTasks()
      return generation
    },
    assertInPlace: (desired) => assertInPlace(kernel, desired),
  }
}

export function assertInPlace(kernel: FakeKernel, desired: DesiredState): void {
  const wrong: string[] = []
  for (const [key, object] of desired.objects) {
    const actual = kernel.get(key)
    if (actual === undefined) wrong.push(`${key} is missing`)
    else if (compare(actual, object) !== 'same') wrong.push(`${key} is ${JSON.stringify(actual)}`)
  }
  assert.deepEqual(wrong, [])
}
