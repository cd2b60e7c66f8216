import fc from 'fast-check'

/** One thing that happens to the nodes, the store or the hosts. Nodes are named by their place. */
export type Step =
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'start' | 'kill' | 'stop'; readonly node: number }
  | { readonly do: 'damage'; readonly node: number; readonly what: Damage }
  /** The uplink's address goes, and another comes after a while; so many times, one after the other. */
  | {
      readonly do: 'move'
      readonly node: number
      readonly afterMs: number
      readonly times: number
      readonly pauseMs: number
    }
  /** One address more, as keepalived adds it. */
  | { readonly do: 'floating address'; readonly node: number }
  /** A VPN comes up whose prefix holds the whole network. */
  | { readonly do: 'wide prefix'; readonly node: number }
  | { readonly do: 'connection'; readonly node: number; readonly lagMs: number; readonly delayMs: number }
  | { readonly do: 'cut' | 'heal'; readonly node: number }
  /** Of so many calls into the kernel one fails. */
  | { readonly do: 'kernel refuses'; readonly node: number; readonly oneOf: number }
  | { readonly do: 'lease deleted'; readonly node: number }
  | { readonly do: 'strange lease'; readonly lease: number }
  | { readonly do: 'foreign route'; readonly node: number; readonly peer: number }

export const DAMAGES = ['device', 'device down', 'address', 'routes', 'neighbours', 'fdb'] as const
export type Damage = (typeof DAMAGES)[number]

/** What anybody can write below the prefix. `{ADDRESS}` is the first node's. Some may be routed, now or once that node has moved. */
export const STRANGE_LEASES: readonly (readonly [string, string])[] = [
  ['10.64.250.0-24', 'nonsense'],
  [
    '10.64.251.0-24',
    '{"PublicIP":"127.0.0.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:bb:00:00:00:01"}}',
  ],
  [
    '10.64.252.0-24',
    '{"PublicIP":"{ADDRESS}","NodeID":"ffffffffffffffffffffffffffffffff","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:bb:00:00:00:02"}}',
  ],
  [
    '192.0.2.0-24',
    '{"PublicIP":"198.51.100.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:bb:00:00:00:03"}}',
  ],
  ['10.64.253.0-24', '{"PublicIP":"198.51.100.2","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"not a mac"}}'],
  [
    '10.64.200.0-22',
    '{"PublicIP":"198.51.100.3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:bb:00:00:00:04"}}',
  ],
  ['10.64.254.0-24', '{"PublicIP":"198.51.100.4"}'],
]

/** Histories of so many nodes. */
export function histories(nodes: number): fc.Arbitrary<readonly Step[]> {
  const node = fc.nat({ max: nodes - 1 })
  const of = <D extends string>(...names: readonly D[]) => fc.constantFrom(...names)
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: of('wait'), ms: of0(1, 20, 150, 700, 3_000, 12_000, 40_000) }) },
    { weight: 5, arbitrary: fc.record({ do: of('start', 'start', 'kill', 'stop'), node }) },
    { weight: 2, arbitrary: fc.record({ do: of('damage'), node, what: of(...DAMAGES) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: of('move'),
        node,
        afterMs: of0(0, 50, 400, 5_000),
        times: of0(1, 1, 2, 3),
        pauseMs: of0(30, 400, 1_800),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: of('floating address', 'wide prefix'), node }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: of('connection'), node, lagMs: of0(0, 90, 2_500), delayMs: of0(1, 40, 1_500) }),
    },
    { weight: 2, arbitrary: fc.record({ do: of('cut', 'heal'), node }) },
    { weight: 1, arbitrary: fc.record({ do: of('kernel refuses'), node, oneOf: of0(1, 2, 5) }) },
    { weight: 1, arbitrary: fc.record({ do: of('lease deleted'), node }) },
    { weight: 2, arbitrary: fc.record({ do: of('strange lease'), lease: fc.nat({ max: STRANGE_LEASES.length - 1 }) }) },
    { weight: 1, arbitrary: fc.record({ do: of('foreign route'), node, peer: node }) },
  )
  return fc.array(step, { minLength: 1, maxLength: 25 })
}

function of0(...numbers: readonly number[]): fc.Arbitrary<number> {
  return fc.constantFrom(...numbers)
}
