import assert from 'node:assert/strict'
import { type FlipHistory, firstValue, observe } from '../../../flanneld/config/flips.ts'

const minute = 60_000

/** `A0 B1 A2`: value and minute. What is in use after each: a small letter where it is held. */
function inUse(text: string): string {
  const steps = text.split(' ').map((step) => [step.slice(0, 1), Number(step.slice(1)) * minute] as const)
  let history: FlipHistory | undefined
  let used = ''
  return steps
    .map(([value, at]) => {
      history = history === undefined ? firstValue(value, at) : observe(history, value, at)
      if (!history.isFollowed && used !== value) return used.toLowerCase()
      used = value
      return used
    })
    .join('')
}

describe('the history of a configuration', () => {
  const histories: readonly (readonly [says: string, steps: string, inUse: string])[] = [
    ['new values are followed, however many', 'A0 B0 C0 D0 E0 F0 G0 H0', 'ABCDEFGH'],
    ['an attempt and the way back are followed', 'A0 B1 A2', 'ABA'],
    ['four changes back are followed, the fifth is held', 'A0 B1 A2 B3 A4 B5 A6', 'ABABABb'],
    ['the held one that is in use again is no change', 'A0 B1 A2 B3 A4 B5 A6 B7 A8', 'ABABABbBb'],
    ['of three that quarrel, too', 'A0 B1 C2 A3 B4 C5 A6 B7', 'ABCABCAa'],
    ['a new one is followed while others are held', 'A0 B1 A2 B3 A4 B5 A6 C7 A8 B9', 'ABABABbCcc'],
    ['slow changes are no quarrel', 'A0 B4 A8 B12 A16 B20 A24 B28', 'ABABABAB'],
    ['what was left long ago is new again', 'A0 B1 A11 B21 A31 B41 A51 B61 A71', 'ABABABABA'],
    ['nothing is followed as long as the quarrel lasts', 'A0 B1 A2 B3 A4 B5 A14 B23 A32', 'ABABABbBb'],
    ['ten quiet minutes end it', 'A0 B1 A2 B3 A4 B5 A16 B17 A18', 'ABABABABA'],
    ['the same value again is no change', 'A0 A1 A2 A3 A4 A5 A6 A7', 'AAAAAAAA'],
  ]
  for (const [says, steps, expected] of histories) {
    it(`${says}: ${steps}`, () => assert.equal(inUse(steps), expected))
  }

  it('remembers no more than a hundred values', () => {
    let history = firstValue('0', 0)
    for (let n = 1; n < 1_000; n += 1) history = observe(history, String(n), n)
    assert.equal(history.left.size, 100)
    assert.ok(history.left.has('998'))
  })
})
