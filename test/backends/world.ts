import type { HostFacts, LocalPlan, PathState, Reach, SkippedPeer } from '../../backends/backend.ts'
import type { AnyBackend } from '../../backends/registry.ts'
import type { Way } from '../../backends/way.ts'
import { PeerFold } from '../../flanneld/node/peer-fold.ts'
import { planPeer } from '../../flanneld/node/peer-plan.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import { type DesiredObject, keyOf } from '../../kernel/objects.ts'
import { type Cidr, FAMILIES, type Family, familyOf, type IpAddr, type MacAddr } from '../../lib/address.ts'
import type { FamilyNetwork, NetworkConfig } from '../../subnet/network-config.ts'
import type { FamilyLease, Lease, PeerPath } from '../../subnet/types.ts'

const ip = (text: string) => text as IpAddr
const cidr = (text: string) => text as Cidr

/** A network of 10.5.0.0/16 and, if asked for, fc00::/48. */
export function network(...families: readonly Family[]): NetworkConfig {
  const v4 = { network: cidr('10.5.0.0/16'), subnetLen: 24, subnetMin: ip('10.5.1.0'), subnetMax: ip('10.5.255.0') }
  const v6 = {
    network: cidr('fc00::/48'),
    subnetLen: 64,
    subnetMin: ip('fc00:0:0:1::'),
    subnetMax: ip('fc00:0:0:ffff::'),
  }
  const parts: readonly [Family, FamilyNetwork][] = families.map((family) => [family, family === 4 ? v4 : v6])
  return { families: new Map(parts), nftables: false, backendType: 'vxlan', backend: {}, warnings: [] }
}

/** A lease as `10.5.2.0/24 192.168.64.12`, v6 parts after that; `path` is its primary. */
export function lease(parts: string, path: PeerPath): Lease {
  const words = parts.split(' ')
  const families = new Map<Family, FamilyLease>()
  for (let index = 0; index + 1 < words.length; index += 2) {
    const subnet = cidr(words[index] ?? '')
    families.set(familyOf(subnet), { subnet, publicIp: ip(words[index + 1] ?? '') })
  }
  const id = [...families.values()].map((part) => part.subnet.replace('/', '-')).join('&')
  return { id, node: `node-${words[1]}`, primary: path, accepts: [], families, age: '1', reserved: false }
}

export function vxlanPath(mac: string, mac6?: string, vni = 1): PeerPath {
  const data = new Map<Family, unknown>([[4, { VNI: vni, VtepMAC: mac }]])
  if (mac6 !== undefined) data.set(6, { VNI: vni, VtepMAC: mac6 })
  return { backend: 'vxlan', data }
}

export const NO_DATA = new Map<Family, unknown>()

/** A host at 192.168.64.11 (2001:db8::11) on eth0, MTU 1500. */
export function facts(reach: Record<string, Reach> = {}, change: Partial<HostFacts['external']> = {}): HostFacts {
  const addresses = new Map<Family, IpAddr>([
    [4, ip('192.168.64.11')],
    [6, ip('2001:db8::11')],
  ])
  return {
    external: { name: 'eth0', index: 2, mtu: 1500, addresses, publicIps: addresses, reason: 'test', ...change },
    reach: new Map(Object.entries(reach).map(([address, value]) => [ip(address), value])),
    ownAddresses: new Set(addresses.values()),
    strictReversePath: false,
    devices: new Map(),
    nexthops: false,
  }
}

export interface PlanWorld {
  readonly backend: AnyBackend
  readonly config?: unknown
  readonly identity?: unknown
  readonly network?: NetworkConfig
  readonly own: Lease
  readonly peers: readonly Lease[]
  readonly facts?: HostFacts
  readonly underlayInside?: ReadonlySet<Family>
}

/** What the backend comes to with these peers, without what the node has of its own. */
export interface BackendPlan extends Pick<LocalPlan, 'mtu' | 'notices'> {
  readonly objects: ReadonlyMap<string, DesiredObject>
  readonly skipped: readonly SkippedPeer[]
  readonly paths: ReadonlyMap<string, PathState>
}

export function planOf(world: PlanWorld): BackendPlan {
  const { backend, own, underlayInside } = world
  const way = wayOf(backend, { config: world.config, identity: world.identity })
  const [nets, host] = [world.network ?? network(4), world.facts ?? facts()]
  const { config, identity, devices } = way
  const inside = underlayInside && { underlayInside }
  const local = backend.local({ config, network: nets, identity, devices, own, facts: host, ...inside })
  const tunnels = local.ingress?.tunnels ?? new Map()
  const basis = {
    families: [...nets.families.keys()],
    ways: [way],
    inputs: new Map([[way, { config, identity, tunnels, nexthops: host.nexthops }]]),
    tunnels: new Map(),
    target: undefined,
    complete: true,
    guard: undefined,
  }
  const fold = new PeerFold()
  const peers = world.peers.map((peer) => [peer.id, planPeer(basis, peer, { facts: host })] as const)
  const leases = new Map(world.peers.map((peer) => [peer.id, peer]))
  fold.change(new Map(local.objects.map((object) => [keyOf(object), object])), peers, leases)
  const { objects, skipped, paths } = fold
  return { objects, skipped, paths, mtu: local.mtu, notices: local.notices }
}

/** Configured as in the network configuration. */
export function wayOf(
  backend: AnyBackend,
  { config = {}, identity }: { readonly config?: unknown; readonly identity?: unknown } = {},
): Way {
  const path = { backend: backend.wireType, data: NO_DATA }
  const parsed = backend.parseConfig(config, [])
  const [devices] = backend.devices(parsed, network(...FAMILIES))
  return { backend, config: parsed, identity, path, devices, families: FAMILIES }
}

/** The plan as the commands that would make it, for golden texts. */
export function commandText(plan: Pick<BackendPlan, 'objects'>): string {
  return [...plan.objects.values()].flatMap((object) => commandsFor({ verb: 'create', object })).join('\n')
}

export const MACS = { own: '02:00:00:00:00:11' as MacAddr, own6: '02:00:00:00:06:11' as MacAddr }
