import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { APPLY_ORDER, carriedBy, emptiedBy } from '../../../kernel/kinds/order.ts'
import { ownershipOf } from '../../../kernel/kinds/ownership.ts'
import { commandsFor, describe as words } from '../../../kernel/kinds/words.ts'
import { compare, deviceOf, type KernelObject, keyOf } from '../../../kernel/objects.ts'
import type { Op } from '../../../kernel/table.ts'
import { repeat } from '../../long.ts'
import * as the from '../fixtures.ts'
import { anyDesired, anyOf } from './arbitrary.ts'
import { SAMPLES } from './samples.ts'

const numRuns = repeat(50, 2000)

for (const kind of APPLY_ORDER) {
  describe(`kind ${kind}`, () => {
    it('says in logs, plans and conditions what it always said', () => {
      const text = SAMPLES[kind].map(([actual, desired]) => told(actual, desired)).join('\n')
      // `GOLDEN=write` writes it anew, to be read as a diff.
      const golden = new URL(`golden/${kind}.txt`, import.meta.url)
      if (process.env['GOLDEN'] === 'write') writeFileSync(golden, text)
      assert.equal(text, readFileSync(golden, 'utf8'))
    })

    it('has keys of its own', () => {
      const others = APPLY_ORDER.filter((other) => other !== kind).map((other) => `${other} `)
      fc.assert(
        fc.property(anyOf(kind), (object) => {
          const key = keyOf(object)
          assert(key.startsWith(`${kind} `) && !others.some((other) => key.startsWith(other)), key)
        }),
        { numRuns },
      )
    })

    it('takes an object for what it is', () => {
      fc.assert(
        fc.property(anyDesired(kind), (object) => assert.equal(compare(object, structuredClone(object)), 'same')),
        { numRuns },
      )
    })

    it('has words and commands', () => {
      fc.assert(
        fc.property(anyOf(kind), (object) => {
          assert.match(words(object), /^(?!.*undefined)\S[^\n]*$/)
          for (const verb of ['create', 'remove'] as const) {
            const commands = commandsFor({ verb, object })
            assert(
              commands.length > 0 && commands.every((text) => /^(?!.*undefined)\S/.test(text)),
              commands.join('\n'),
            )
          }
        }),
        { numRuns },
      )
    })

    it('leaves alone what an instance neither wants nor has made', () => {
      fc.assert(
        fc.property(anyOf(kind), (object) => {
          assert.equal(ownershipOf(object, STRANGER), IN_PROCESS.has(kind) ? 'ours' : 'foreign')
          assert.notEqual(ownershipOf(object, the.desiredOf([the.required(object)])), 'leftover')
        }),
        { numRuns },
      )
    })
  })
}

describe('kinds', () => {
  it('name each other by names that are there', () => {
    assert.deepEqual([...new Set(APPLY_ORDER)], APPLY_ORDER)
    for (const kind of APPLY_ORDER)
      for (const other of [...emptiedBy(kind), ...carriedBy(kind)]) assert(APPLY_ORDER.includes(other), other)
  })
})

/** Of another instance, which has made nothing yet. */
const STRANGER = the.desiredOf([], { scope: { devices: new Set(), networks: [], instance: 'fedcba98' } })
/** Nobody else can make these. */
const IN_PROCESS: ReadonlySet<string> = new Set(['udp-peer', 'udp-proxy'])

function told(actual: KernelObject, desired: KernelObject): string {
  const key = keyOf(desired)
  assert.equal(keyOf(actual), key)
  const verb = compare(actual, desired)
  const lines = [
    `== ${key}: ${verb}`,
    `on ${deviceOf(desired) ?? 'no device'}`,
    `${ownershipOf(actual, the.desiredOf([the.required(desired)]))} where wanted, else ${ownershipOf(actual, the.desiredOf([]))}`,
    `actual: ${words(actual)}`,
    `desired: ${words(desired)}`,
    ...commands({ verb: 'create', object: desired }),
    ...(verb === 'same' ? [] : commands({ verb, object: desired, actual })),
    ...commands({ verb: 'remove', object: actual }),
  ]
  return `${lines.join('\n')}\n`
}

function commands(op: Op<KernelObject>): readonly string[] {
  return [`-- ${op.verb}`, ...commandsFor(op).map((command) => `$ ${command}`)]
}
