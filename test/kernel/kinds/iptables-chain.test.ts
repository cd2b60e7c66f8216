import assert from 'node:assert/strict'
import type { IptablesChain } from '../../../kernel/kinds/iptables-chain/kind.ts'
import { removalText, restoreText } from '../../../kernel/kinds/iptables-chain/script.ts'

describe('a chain of iptables', () => {
  const jump = { from: 'POSTROUTING', rule: '-m comment --comment "c" -j FLANNEL-FWD', place: 'last' } as const
  const user = { ...jump, from: 'DOCKER-USER', place: 'first', optional: true } as const
  const chain: IptablesChain = {
    kind: 'iptables-chain',
    world: 'nft',
    family: 4,
    table: 'filter',
    name: 'FLANNEL-FWD',
    rules: ['-j ACCEPT'],
    jumps: [jump, user],
  }
  const text = (actual: IptablesChain | undefined, exists = false) =>
    restoreText(chain, actual, () => exists)
      .split('\n')
      .slice(2, -2)

  it('is made with its jumps, an optional one only where its place is', () => {
    assert.deepEqual(text(undefined), ['-A FLANNEL-FWD -j ACCEPT', `-A POSTROUTING ${jump.rule}`])
    assert.deepEqual(text(undefined, true).at(-1), `-I DOCKER-USER ${jump.rule}`)
  })

  it('keeps the jump that is right, and has it once', () => {
    const twice = { ...chain, jumps: [jump, jump, jump] }
    assert.deepEqual(text(twice), [
      `-D POSTROUTING ${jump.rule}`,
      `-D POSTROUTING ${jump.rule}`,
      '-A FLANNEL-FWD -j ACCEPT',
    ])
  })

  it('loses jumps from elsewhere', () => {
    const wrong = { ...jump, from: 'OUTPUT' }
    assert.deepEqual(text({ ...chain, jumps: [jump, wrong] })[0], `-D OUTPUT ${jump.rule}`)
  })

  it('is rid of an optional jump only where its place is, also where it was written and not read again', () => {
    const removed = (exists: boolean) =>
      removalText(chain, () => exists)
        .split('\n')
        .slice(1, -4)
    assert.deepEqual(removed(false), [`-D POSTROUTING ${jump.rule}`])
    assert.deepEqual(removed(true), [`-D POSTROUTING ${jump.rule}`, `-D DOCKER-USER ${jump.rule}`])
    const unwanted = (exists: boolean) => restoreText({ ...chain, jumps: [jump] }, chain, () => exists)
    assert.doesNotMatch(unwanted(false), /DOCKER-USER/)
    assert.match(unwanted(true), /^-D DOCKER-USER /m)
  })
})
