import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  advance,
  forced,
  IN_FLIGHT_MS,
  restingAt,
  retarget,
  type SwitchPeer,
  type SwitchState,
  type Verdict,
  wayOf,
} from '../../../flanneld/switch/switch.ts'

const NODES = 3
const WAYS = ['A', 'B', 'C'] as const

interface Said {
  readonly accepts: readonly string[]
  readonly sends: readonly string[]
}

type Step =
  | { readonly do: 'config'; readonly node: number; readonly way: number }
  | { readonly do: 'look' | 'write' | 'read'; readonly node: number }
  /** Probes from one to another by the target are answered from now on, or are not. */
  | { readonly do: 'path'; readonly node: number; readonly peer: number; readonly isOpen: boolean }

/** Nodes that see the store later than it is, and each other through it only. */
class Nodes {
  readonly states: SwitchState[] = Array.from({ length: NODES }, () => restingAt('A'))
  readonly #history: Said[][] = [this.states.map(saidBy)]
  /** Revision of each node's last write, and up to which it has read. */
  readonly #wrote = Array.from({ length: NODES }, () => 0)
  readonly #read = Array.from({ length: NODES }, () => 0)
  readonly #shown = Array.from({ length: NODES }, () => 0)
  readonly #closed = new Set<string>()

  take(step: Step): void {
    switch (step.do) {
      case 'config':
        this.states[step.node] = retarget(this.#state(step.node), WAYS[step.way % WAYS.length] ?? 'A')
        return
      case 'path':
        this.#closed[step.isOpen ? 'delete' : 'add'](`${step.node} ${step.peer}`)
        return
      case 'write':
        this.#write(step.node)
        return
      case 'read':
        this.#read[step.node] = this.#history.length - 1
        return
      default:
        this.#look(step.node)
    }
  }

  open(): void {
    this.#closed.clear()
  }

  /** Nobody sends by a way that the receiver has given up. */
  assertNoFault(when: string): void {
    for (const [from, state] of this.states.entries()) {
      for (const peer of this.#peers(from)) {
        const way = wayOf(state, peer)
        const isHeld = this.#state(Number(peer.id)).held.some(({ key }) => key === way)
        if (way !== undefined && !isHeld) assert.fail(`${when}: ${from} sends to ${peer.id} by ${way}`)
      }
    }
  }

  #look(node: number): void {
    const before = this.#state(node)
    const written = this.#history[this.#read[node] ?? 0]?.[node]
    const isShown =
      JSON.stringify(written) === JSON.stringify(saidBy(before)) && (this.#read[node] ?? 0) >= (this.#wrote[node] ?? 0)
    this.#shown[node] = isShown ? (this.#shown[node] ?? 0) + 1 : 0
    const shownMs = isShown ? ((this.#shown[node] ?? 0) > 1 ? IN_FLIGHT_MS : 1) : 0
    this.states[node] = advance(before, { peers: this.#peers(node), isSettled: true, shownMs })
  }

  #write(node: number): void {
    const now = this.#history.at(-1) ?? []
    const said = saidBy(this.#state(node))
    if (JSON.stringify(now[node]) === JSON.stringify(said)) return
    this.#history.push(now.map((each, place) => (place === node ? said : each)))
    this.#wrote[node] = this.#history.length - 1
  }

  #peers(node: number): readonly SwitchPeer[] {
    const state = this.#state(node)
    const leases = this.#history[this.#read[node] ?? 0] ?? []
    return leases.flatMap((lease, place) => {
      if (place === node) return []
      const held = state.held.map(({ key }) => key)
      const of = (keys: readonly string[]) => held.filter((key) => keys.includes(key))
      const said = { accepts: of(lease.accepts), sends: of(lease.sends) }
      const peer = { id: String(place), node: `node-${place}`, family: 4, refused: [], ...said } as const
      return [{ ...peer, verdict: this.#verdict(node, peer) }]
    })
  }

  #verdict(node: number, peer: Omit<SwitchPeer, 'verdict'>): Verdict {
    if (peer.accepts.length < 2) return 'confirmed'
    const isOpen = !this.#closed.has(`${node} ${peer.id}`)
    if (wayOf(this.#state(node), peer) === this.#state(node).target) return isOpen ? 'confirmed' : 'failed'
    return isOpen ? 'proven' : 'unproven'
  }

  #state(node: number): SwitchState {
    return this.states[node] ?? assert.fail(`there is no node ${node}`)
  }
}

function saidBy({ held }: SwitchState): Said {
  return {
    accepts: held.flatMap(({ key, isAccepted }) => (isAccepted ? [key] : [])),
    sends: held.flatMap(({ key, isSent }) => (isSent ? [key] : [])),
  }
}

const node = fc.nat({ max: NODES - 1 })
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 1, arbitrary: fc.record({ do: fc.constant('config' as const), node, way: fc.nat({ max: 2 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('path' as const), node, peer: node, isOpen: fc.boolean() }) },
    { weight: 12, arbitrary: fc.record({ do: fc.constantFrom('look', 'look', 'write', 'read'), node }) },
  ),
  { maxLength: 150, size: 'max' },
)

describe('the change from one way to another', function () {
  this.timeout(60_000)
  it('never lets anybody send by a way that the receiver has given up, whatever comes in which order', () => {
    fc.assert(
      fc.property(steps, (history) => {
        const nodes = new Nodes()
        for (const [place, step] of history.entries()) {
          nodes.take(step)
          nodes.assertNoFault(`after step ${place}`)
        }
      }),
      { numRuns: 100 },
    )
  })

  it('ends with one way once all want the same and reach each other', () => {
    fc.assert(
      fc.property(steps, fc.nat({ max: 2 }), (history, way) => {
        const nodes = new Nodes()
        for (const step of history) nodes.take(step)
        nodes.open()
        for (let place = 0; place < NODES; place += 1) nodes.take({ do: 'config', node: place, way })
        for (let round = 0; round < 120; round += 1) {
          const does = (['read', 'look', 'write'] as const)[round % 3] ?? 'look'
          for (let place = 0; place < NODES; place += 1) nodes.take({ do: does, node: place })
          nodes.assertNoFault('at rest')
        }
        assert.deepEqual(
          nodes.states,
          nodes.states.map(() => restingAt(WAYS[way] ?? 'A')),
        )
      }),
      { numRuns: 30 },
    )
  })

  describe('of a peer that was moved', () => {
    const held = ['A', 'B'].map((key) => ({ key, isAccepted: true, isSent: true }))
    const pins = new Map([['1', { node: 'one', ways: new Map([[4 as const, 'B']]) }]])
    const state: SwitchState = { held, target: 'B', pins }
    const said = { id: '1', family: 4, accepts: ['A', 'B'], refused: [], sends: ['A', 'B'] } as const
    const cases: readonly [string, readonly SwitchPeer[], number, string | undefined, number][] = [
      ['stays while it is there', [{ ...said, node: 'one', verdict: 'unproven' }], 600, 'B', 1],
      [
        'begins anew when another node has got its subnet',
        [{ ...said, node: 'two', verdict: 'unproven' }],
        600,
        'A',
        0,
      ],
      ['goes by the old way at once then', [{ ...said, node: 'two', verdict: 'unproven' }], 0, 'A', 1],
      ['is forgotten when it has gone', [], 600, undefined, 0],
      ['is not forgotten before the store has shown who is there', [], 0, undefined, 1],
    ]
    for (const [title, peers, shownMs, way, pinned] of cases) {
      it(title, () => {
        const next = advance(state, { peers, isSettled: true, shownMs })
        assert.equal(next.pins.size, pinned)
        assert.equal(peers[0] && wayOf(next, peers[0]), way)
      })
    }
  })

  describe('that waits for nobody any more, by request', () => {
    const began = retarget(restingAt('A'), 'B')
    const peers = [
      { id: 'p', node: 'n', family: 4, accepts: ['A'], refused: [], sends: ['A'], verdict: 'confirmed' } as const,
    ]
    const next = (state: SwitchState, shownMs: number) => {
      let before: SwitchState | undefined
      let now = state
      while (now !== before) [before, now] = [now, advance(now, { peers, isSettled: true, shownMs })]
      return now
    }

    it('goes on where the node does not receive by the new way yet', () => assert.equal(forced(began), began))

    it('ends the old way only after the others were shown that it does, whoever uses it', () => {
      const waiting = next(next(began, 0), 1_000)
      assert.equal(next(waiting, 60_000), waiting)
      const said = next(forced(waiting), 0)
      assert.deepEqual(
        said.held.map(({ key, isAccepted, isSent }) => [key, isAccepted, isSent]),
        [
          ['A', true, false],
          ['B', true, true],
        ],
      )
      const shown = next(said, 1)
      assert.deepEqual([shown.held[0]?.isAccepted, shown.held.length], [false, 2])
      assert.deepEqual(next(shown, IN_FLIGHT_MS), restingAt('B'))
    })

    it('waits again after another change of mind', () =>
      assert.equal(retarget(forced(next(began, 0)), 'A').isForced, undefined))
  })

  it('moves a host of flannel to what flannel would send by without asking it, and ends', () => {
    const peer: SwitchPeer = {
      id: 'p',
      node: '',
      family: 4,
      accepts: ['A', 'B'],
      refused: [],
      sends: [],
      verdict: 'unasked',
    }
    let state = retarget(restingAt('A'), 'B')
    const states = new Set<SwitchState>()
    for (; !states.has(state); state = advance(state, { peers: [peer], isSettled: true, shownMs: IN_FLIGHT_MS })) {
      states.add(state)
      if (state.held.length > 1 && state.pins.size > 0) assert.equal(wayOf(state, peer), 'B')
    }
    assert.deepEqual(state, restingAt('B'))
    assert.ok([...states].some(({ pins }) => pins.size > 0))
  })

  it('forgets who was moved to a way that has ended', () => {
    const [both, none] = [
      { isAccepted: true, isSent: true },
      { isAccepted: false, isSent: false },
    ]
    const held = [
      { key: 'A', ...both },
      { key: 'B', ...none },
      { key: 'C', ...both },
    ]
    const pins = new Map([['p', { node: 'n', ways: new Map([[4 as const, 'B']]) }]])
    const peer: SwitchPeer = {
      id: 'p',
      node: 'n',
      family: 4,
      accepts: ['A', 'C'],
      refused: [],
      sends: ['A'],
      verdict: 'unproven',
    }
    const view = { peers: [peer], isSettled: true, shownMs: 1_000 }
    const ended = advance(advance({ held, target: 'C', pins }, view), view)
    assert.deepEqual([ended.held.map(({ key }) => key), [...ended.pins]], [['A', 'C'], []])
    assert.equal(wayOf(retarget(ended, 'B'), { ...peer, accepts: ['A', 'B', 'C'] }), 'A')
  })
})
