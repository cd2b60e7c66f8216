import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { APPLY_ORDER } from '../../../kernel/kinds/order.ts'
import { ownershipOf } from '../../../kernel/kinds/ownership.ts'
import { commandsFor, describe as words } from '../../../kernel/kinds/words.ts'
import { compare, deviceOf, type KernelObject, keyOf } from '../../../kernel/objects.ts'
import type { Op } from '../../../kernel/table.ts'
import * as the from '../fixtures.ts'
import { SAMPLES } from './samples.ts'

describe('kinds', () => {
  for (const kind of APPLY_ORDER) {
    it(`${kind}: logs, plans and conditions say what they always said`, () => {
      const text = SAMPLES[kind].map(([actual, desired]) => told(actual, desired)).join('\n')
      // `GOLDEN=write` writes it anew, to be read as a diff.
      const golden = new URL(`golden/${kind}.txt`, import.meta.url)
      if (process.env['GOLDEN'] === 'write') writeFileSync(golden, text)
      assert.equal(text, readFileSync(golden, 'utf8'))
    })
  }
})

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
