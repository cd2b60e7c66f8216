import fc from 'fast-check'
import { CONFIGS } from './scenario.ts'
import { STRANGE_LEASES } from './strange-leases.ts'

export const DAMAGES = ['device', 'device down', 'address', 'routes', 'neighbours', 'fdb', 'rules', 'flannel'] as const
export type Damage = (typeof DAMAGES)[number]

/** One thing that happens to the nodes, the store or the hosts. Nodes are named by their place. */
export type Step =
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'start' | 'kill' | 'stop'; readonly node: number }
  /** At one of its next calls of kernel, disk or store, counted from 1; when that is done already, or not yet. */
  | { readonly do: 'kill at'; readonly node: number; readonly call: number; readonly isAnswerLost: boolean }
  /** Of the userspace engine of udp, for so long. */
  | { readonly do: 'worker dies'; readonly node: number; readonly ms: number }
  | { readonly do: 'damage'; readonly node: number; readonly what: Damage }
  /** The uplink's addresses go, and others come after a while; so many times, one after the other. */
  | {
      readonly do: 'move'
      readonly node: number
      readonly afterMs: number
      readonly times: number
      readonly pauseMs: number
      /** The last time those come back that were there first. */
      readonly isBack: boolean
    }
  /** Down, or gone and back as another device of that name. */
  | { readonly do: 'uplink'; readonly node: number; readonly how: 'down' | 'gone'; readonly ms: number }
  /** One address more, as keepalived adds it. */
  | { readonly do: 'floating address'; readonly node: number }
  /** A VPN comes up whose prefix holds the whole network. */
  | { readonly do: 'wide prefix'; readonly node: number }
  | {
      readonly do: 'connection'
      readonly node: number
      readonly lagMs: number
      readonly delayMs: number
      readonly failOneOf: number
    }
  | { readonly do: 'cut' | 'heal'; readonly node: number }
  /** Of so many calls into the kernel one fails; `done`: it is done all the same. */
  | { readonly do: 'kernel refuses'; readonly node: number; readonly oneOf: number; readonly done: boolean }
  | { readonly do: 'kernel is slow'; readonly node: number; readonly ms: number }
  | { readonly do: 'disk'; readonly node: number; readonly full: boolean; readonly delayMs: number }
  | { readonly do: 'lease deleted'; readonly node: number }
  | { readonly do: 'strange lease'; readonly lease: number }
  /** Of five flannels at once. */
  | { readonly do: 'rack'; readonly what: 'arrives' | 'leaves' }
  /** Another program has, or has no more, routes to the subnets of the rack. */
  | { readonly do: 'rack is elsewhere'; readonly node: number; readonly isElsewhere: boolean }
  /** Another program writes routes to the subnets of a peer, in one family or in all: beside ours, over ours, or takes them back. */
  | {
      readonly do: 'foreign route'
      readonly node: number
      readonly peer: number
      readonly how: 'add' | 'replace' | 'remove'
      readonly isOne: boolean
    }
  | { readonly do: 'config'; readonly text: number }

/** Histories of so many nodes. */
export function histories(nodes: number): fc.Arbitrary<readonly Step[]> {
  // Much happens to one node: faults need several things that come together.
  const node = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat({ max: nodes - 1 }) })
  const of = <D extends string | number | boolean>(...values: readonly D[]) => fc.constantFrom(...values)
  const is = fc.boolean()
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: of('wait'), ms: of(1, 20, 150, 700, 3_000, 12_000, 40_000) }) },
    { weight: 5, arbitrary: fc.record({ do: of('start', 'start', 'start', 'kill', 'stop'), node }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: of('kill at'), node, call: fc.integer({ min: 1, max: 60 }), isAnswerLost: is }),
    },
    { weight: 1, arbitrary: fc.record({ do: of('worker dies'), node, ms: of(50, 2_000, 20_000) }) },
    { weight: 2, arbitrary: fc.record({ do: of('damage'), node, what: of(...DAMAGES) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: of('move'),
        node,
        afterMs: of(0, 50, 400, 5_000),
        times: of(1, 1, 2, 3),
        pauseMs: of(30, 400, 1_800),
        isBack: is,
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: of('uplink'), node, how: of('down', 'gone'), ms: of(1, 300, 4_000) }) },
    { weight: 1, arbitrary: fc.record({ do: of('floating address', 'wide prefix'), node }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: of('connection'),
        node,
        lagMs: of(0, 90, 2_500),
        delayMs: of(1, 40, 1_500),
        failOneOf: of(0, 0, 2, 5),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: of('cut', 'heal'), node }) },
    { weight: 1, arbitrary: fc.record({ do: of('kernel refuses'), node, oneOf: of(1, 2, 5), done: is }) },
    { weight: 1, arbitrary: fc.record({ do: of('kernel is slow'), node, ms: of(0, 3, 200) }) },
    { weight: 2, arbitrary: fc.record({ do: of('disk'), node, full: is, delayMs: of(0, 0, 30, 3_000) }) },
    { weight: 1, arbitrary: fc.record({ do: of('lease deleted'), node }) },
    { weight: 2, arbitrary: fc.record({ do: of('strange lease'), lease: fc.nat({ max: STRANGE_LEASES.length - 1 }) }) },
    { weight: 2, arbitrary: fc.record({ do: of('rack'), what: of('arrives', 'arrives', 'leaves') }) },
    { weight: 2, arbitrary: fc.record({ do: of('rack is elsewhere'), node, isElsewhere: of(true, true, false) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: of('foreign route'),
        node,
        peer: node,
        how: of('add', 'replace', 'remove'),
        isOne: is,
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: of('config'), text: fc.nat({ max: CONFIGS - 1 }) }) },
  )
  return fc.array(step, { minLength: 1, maxLength: 25, size: 'max' })
}
