import assert from 'node:assert/strict'
import { planText } from '../../flanneld/commands/plan.ts'
import type { KernelObject } from '../../kernel/objects.ts'
import type { Op } from '../../kernel/table.ts'
import * as the from '../kernel/fixtures.ts'

const OBSTACLES = [
  { text: 'a policy drops', command: 'iptables -P FORWARD ACCEPT' },
  { text: 'a rule drops', command: '' },
]
const SAID = ['# a policy drops; open it with: iptables -P FORWARD ACCEPT', '# a rule drops']

describe('the text of `flanneld plan`', () => {
  const beginnings = (...ops: readonly Op<KernelObject>[]) =>
    planText({ ops, failures: new Map() }, OBSTACLES)
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
    assert.equal(planText({ ops: [], failures: new Map() }, []), '# nothing to change\n')
  })
})
