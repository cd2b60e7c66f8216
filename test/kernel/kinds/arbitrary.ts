import fc from 'fast-check'
import type { KernelObject, ObjectKind } from '../../../kernel/objects.ts'
import * as the from '../fixtures.ts'
import { SAMPLES } from './samples.ts'

const byte = fc.integer({ min: 2, max: 9 })
const device = fc.constantFrom('flannel.1', 'flannel.7', 'eth0', 'cni0')
const address4 = byte.map((n) => the.ip(`192.0.2.${n}`))
const address = fc.oneof(
  address4,
  byte.map((n) => the.ip(`2001:db8::${n}`)),
)
const mac = byte.map(the.mac)
const subnet = fc.oneof(
  byte.map((n) => the.cidr(`10.64.${n}.0/24`)),
  byte.map((n) => the.cidr(`fc00:0:0:${n}::/64`)),
)
const table = fc.constantFrom('flanneld-guard', 'flanneld-guard-0123abcd')
const absent = { requiredKeys: [] }

/** Small worlds, so that keys meet. A kind that says nothing here is taken from the samples. */
const MADE: { readonly [K in ObjectKind]?: fc.Arbitrary<Extract<KernelObject, { readonly kind: K }>> } = {
  'fou-port': fc
    .tuple(byte, fc.record({ protocol: fc.constantFrom(4, 47), local: address4 }, absent))
    .map(([port, fields]) => the.fouPort(port, fields)),
  link: fc.oneof(
    fc
      .record({
        name: device,
        mtu: byte,
        up: fc.boolean(),
        vni: byte,
        port: byte,
        learning: fc.boolean(),
        local: address,
      })
      .map(({ name, mtu, up, ...driver }) => the.vxlan(name, { mtu, up }, driver)),
    fc
      .tuple(device, fc.record({ ttl: byte, remote: address4, underlay: device }, absent))
      .map((args) => the.ipip(...args)),
    fc.tuple(device, fc.boolean()).map((args) => the.tun(...args)),
    device.map((name) => the.bridge(name)),
  ),
  sysctl: fc
    .record({ device, value: fc.constantFrom('0', '1', '2'), name: fc.constantFrom('rp_filter', 'forwarding') })
    .map(({ device, value, name }) => the.sysctl(`net/ipv4/conf/${device}/${name}`, value)),
  address: fc.record({ address, device }).map(({ address, device }) => the.address(`${address}/32`, device)),
  'udp-peer': fc.record({ kind: fc.constant('udp-peer' as const), device, subnet, publicIp: address4 }),
  'udp-proxy': fc.record({
    kind: fc.constant('udp-proxy' as const),
    device,
    local: address4,
    port: byte,
    own: address4,
  }),
  neighbour: fc.record({ address, mac, device }).map((made) => the.neighbour(made.address, made.mac, made.device)),
  fdb: fc.record({ mac, address, device }).map((made) => the.fdb(made.mac, made.address, made.device)),
  route: fc
    .record({
      dst: subnet,
      fields: fc.record(
        {
          via: address,
          device,
          metric: byte,
          onLink: fc.boolean(),
          protocol: fc.constantFrom(2, 3, 102, 186),
          type: fc.constantFrom('unicast' as const, 'blackhole' as const),
        },
        absent,
      ),
    })
    .map(({ dst, fields }) => the.route(dst, fields)),
  'guard-peer': fc
    .record({ table, name: subnet, subnets: fc.array(address4), vteps: fc.array(address4), device, source: address4 })
    .map(({ device, source, ...rest }) => ({
      kind: 'guard-peer',
      family: 4,
      paths: rest.vteps.map((outer) => ({ outer, source })),
      senders: [{ device, source }],
      ...rest,
    })),
  file: fc.record({
    kind: fc.constant('file' as const),
    path: fc.constantFrom('/run/a', '/run/b'),
    content: byte.map((n) => `FLANNEL_MTU=${n}\n`),
    mode: byte,
  }),
}

/** Any object of the kind, read or wanted. */
export function anyOf(kind: ObjectKind): fc.Arbitrary<KernelObject> {
  return fc.oneof(fc.constantFrom(...SAMPLES[kind].map(([actual]) => actual)), anyDesired(kind))
}

export function anyDesired(kind: ObjectKind): fc.Arbitrary<KernelObject> {
  const samples = fc.constantFrom(...SAMPLES[kind].map(([_actual, desired]) => desired))
  const made: fc.Arbitrary<KernelObject> | undefined = MADE[kind]
  return made === undefined ? samples : fc.oneof(samples, made)
}
