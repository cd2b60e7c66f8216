import assert from 'node:assert/strict'
import { type Plan, planDocument, planText } from '../../flanneld/commands/plan-text.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import type { KernelObject } from '../../kernel/objects.ts'
import type { Op } from '../../kernel/table.ts'
import * as the from '../kernel/fixtures.ts'

const OBSTACLES = ['a policy drops; open it with: iptables -P FORWARD ACCEPT', 'a rule drops']
const SAID = OBSTACLES.map((text) => `# ${text}`)

const planned = (ops: readonly Op<KernelObject>[], more: Partial<Plan> = {}): Plan => ({
  ops: ops.map((op) => ({ op, commands: commandsFor(op) })),
  failures: new Map(),
  notes: [],
  obstacles: [],
  hasLease: true,
  ...more,
})

describe('the text of `flanneld plan`', () => {
  const beginnings = (...ops: readonly Op<KernelObject>[]) =>
    planText(planned(ops, { obstacles: OBSTACLES }))
      .split('\n')
      .flatMap((line) => /^(#.*|ip \S+ \S+|install)/.exec(line)?.[0] ?? [])
  const add: Op<KernelObject> = { verb: 'create', object: the.address('10.64.1.0/32') }
  const write: Op<KernelObject> = { verb: 'create', object: the.file('FLANNEL_MTU=1450\n') }
  const remove: Op<KernelObject> = { verb: 'remove', object: the.route('10.64.9.0/24') }

  it('names rules of others behind what comes before files and removals', () => {
    assert.deepEqual(beginnings(add, write, remove), ['ip address add', ...SAID, 'install', 'ip route delete'])
    assert.deepEqual(beginnings(add, remove), ['ip address add', ...SAID, 'ip route delete'])
    assert.deepEqual(beginnings(add), ['ip address add', ...SAID])
  })

  it('says that there is nothing to change only where nothing is named either', () => {
    assert.deepEqual(beginnings(), SAID)
    assert.equal(planText(planned([])), '# nothing to change\n')
  })

  describe('with another configuration', () => {
    const change = {
      isSame: false,
      differences: ['Backend.Type vxlan -> host-gw'],
      refused: [],
      needsRestart: false,
      order: [],
      interruptions: [],
    }

    it('says first what differs, when it goes into use, and what it could interrupt', () => {
      const may = [{ code: 'c', text: 'masqueraded connections end: 3 now', count: 3 }]
      const lines = planText(planned([add], { change: { ...change, interruptions: may } })).split('\n')
      assert.deepEqual(lines.slice(0, 3), [
        '# changes Backend.Type vxlan -> host-gw',
        '# goes into use while the daemon runs',
        '# may interrupt: masqueraded connections end: 3 now',
      ])
      assert.match(lines[3] ?? '', /^ip address add/)
      const restart = planText(planned([], { change: { ...change, needsRestart: true, obstacle: 'one port' } }))
      assert.match(
        restart,
        /^# goes into use when the daemon is started again: one port\n# interrupts nothing\n# nothing to change$/m,
      )
      assert.match(
        planText(planned([], { change: { ...change, isSame: true } })),
        /^# the configuration is the one that the daemons have\n/,
      )
    })

    it('that goes from one way to another names the steps in their order', () => {
      const lines = planText(planned([add], { change: { ...change, order: ['made', 'moved'] } })).split('\n')
      assert.deepEqual(lines.slice(1, 4), ['# goes into use while the daemon runs', '# 1. made', '# 2. moved'])
    })

    it('that is refused has no commands', () => {
      const refused = [{ path: 'Network', text: 'does not fit', remedy: 'put it back' }]
      assert.equal(
        planText(planned([], { change: { ...change, refused } })),
        '# changes Backend.Type vxlan -> host-gw\n# refused: Network: does not fit; put it back\n# a running daemon stays as it is\n',
      )
    })

    it('is a document, too', () => {
      const document = JSON.parse(planDocument(planned([add], { change, notes: ['a note'] })))
      assert.deepEqual(
        [document.apiVersion, document.change.differences, document.steps[0].verb, document.notes],
        ['flannel.plan/v1', change.differences, 'create', ['a note']],
      )
      assert.match(document.steps[0].commands[0], /^ip address add 10\.64\.1\.0\/32/)
    })
  })
})
