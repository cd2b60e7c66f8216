import type { Step } from './history.ts'
import { FIRST_OTHER, OTHER_RULES, type Scenario } from './scenario.ts'

/** What the others differ from. */
export const PLAIN: Scenario = {
  backend: 'vxlan',
  families: [4],
  isInside: false,
  hasSecond: false,
  hasGuard: false,
  masquerade: 'no',
  hasFlannel: false,
  reversePath: '0',
  hasRack: false,
  isRunning: true,
  seed: 1,
}

const foreignRoute = { do: 'foreign route', node: 0, peer: 1, how: 'replace' } as const
const fullDisk = { do: 'disk', node: 0, full: true } as const

/** What once did not come to rest, by what was wrong. */
export const KNOWN_HISTORIES: readonly (readonly [what: string, differs: Partial<Scenario>, readonly Step[]])[] = [
  [
    'another program takes the place of a route: the peer stayed accepted until a restart',
    {},
    [{ ...foreignRoute, isOne: false }],
  ],
  [
    'another program takes the place of a route of one family: the peer was lost in both',
    { families: [4, 6], hasGuard: true },
    [{ ...foreignRoute, isOne: true }],
  ],
  [
    'another program’s route in the way goes with the uplink, of which the kernel tells nothing: ours stayed away until an audit',
    { backend: 'ipip' },
    [
      { ...foreignRoute, node: 1, peer: 0, isOne: false },
      { do: 'rack', what: 'arrives' },
      { do: 'uplink', node: 1, how: 'down', ms: 1 },
    ],
  ],
  [
    'a strict filter stays because the disk is full: what a peer sends directly is lost until its reply is seen here, too',
    { backend: 'direct', reversePath: '1', isRunning: false },
    [
      { ...fullDisk, delayMs: 0 },
      { do: 'start', node: 0 },
      { do: 'start', node: 1 },
      { do: 'kill', node: 0 },
      { do: 'start', node: 0 },
    ],
  ],
  [
    'a node whose identity could not be written is started again: its lease was taken for a stranger’s',
    { hasGuard: true, isRunning: false },
    [
      { ...fullDisk, delayMs: 30 },
      { do: 'start', node: 2 },
      { do: 'start', node: 0 },
      { do: 'move', node: 1, afterMs: 0, times: 1, pauseMs: 1_800, isBack: false },
      { do: 'stop', node: 0 },
    ],
  ],
  [
    'a node whose identity could not be written has another address when it is started again: its own old lease had its hardware address',
    { hasFlannel: true, isRunning: false },
    [
      { ...fullDisk, delayMs: 0 },
      { do: 'start', node: 0 },
      { do: 'wait', ms: 700 },
      { do: 'kill', node: 0 },
      { do: 'move', node: 0, afterMs: 0, times: 1, pauseMs: 30, isBack: false },
    ],
  ],
  [
    'a stranger’s younger lease has the address of a node that is started again: it waited for that one, and took none of its routes back',
    { hasRack: true },
    [
      { do: 'kill', node: 0 },
      { do: 'strange lease', lease: 2 },
      { do: 'rack is elsewhere', node: 0, isElsewhere: true },
      { do: 'start', node: 0 },
      { do: 'wait', ms: 12_000 },
    ],
  ],
  [
    'a node begins with a backend of IPv4 alone where both families are enabled: it did not come from there to one of both',
    { backend: 'host-gw', families: [4, 6], isRunning: false },
    [
      { do: 'config', text: FIRST_OTHER + 3 },
      { do: 'start', node: 0 },
    ],
  ],
  [
    'a node comes from ipip to udp in the kernel, whose device gets its second name beside that of ipip',
    { backend: 'udp', isRunning: false, seed: 0 },
    [
      { do: 'config', text: FIRST_OTHER + 3 },
      { do: 'start', node: 0 },
    ],
  ],
  [
    'the tool of the rules is changed and changed back: a kind of rules that is not removed stays',
    { masquerade: 'nftables' },
    [{ do: 'config', text: OTHER_RULES }],
  ],
  [
    'the worker of udp is away for longer than a node may take to say so: without its watch it stays ready',
    { backend: 'udp' },
    [
      { do: 'worker dies', node: 0, ms: 20_000 },
      { do: 'wait', ms: 12_000 },
    ],
  ],
]
