import assert from 'node:assert/strict'
import type { Failure } from '../../../kernel/desired.ts'
import { keyOf, type Role } from '../../../kernel/objects.ts'
import { unmetRequirements } from '../../../kernel/reconciler/settlement.ts'

/** A failure per role, named by its place. */
function unmet(...roles: readonly Role[]): readonly number[] {
  const failures = roles.map((role, index): Failure => {
    const object = { kind: 'sysctl', path: String(index), value: '0', role } as const
    return { key: keyOf(object), object, cause: 'refused', text: '' }
  })
  return unmetRequirements(failures).map(({ object }) => ('path' in object ? Number(object.path) : -1))
}

const all: Role = { class: 'required' }
const v4: Role = { class: 'required', family: 4, instead: [6] }
const v6: Role = { class: 'required', family: 6, instead: [4] }
const only4: Role = { class: 'required', family: 4 }
const other: readonly Role[] = [
  { class: 'peer', peer: 'x' },
  { class: 'advisory', remedy: '' },
]

describe('requirements', () => {
  const cases: readonly [string, readonly Role[], readonly number[]][] = [
    ['nothing fails', [], []],
    ['peers and advice never count', other, []],
    ['what is for all counts, whatever else is in place', [all, v6], [0]],
    ['one family may fail while the other is whole', [v6, v6], []],
    ['so may the other', [v4], []],
    ['both may not', [v4, v6], [0, 1]],
    ['a family that nothing stands in for counts', [only4], [0]],
    ['what a backend does not carry does not stand in for what it carries', [only4, v6], [0, 1]],
  ]
  for (const [what, roles, expected] of cases) it(what, () => assert.deepEqual(unmet(...roles), expected))
})
