import fc from 'fast-check'
import { long } from '../long.ts'
import { KNOWN_HISTORIES, PLAIN } from './known-histories.ts'
import { outcome } from './property.ts'
import { simulate } from './simulation.ts'

/** So many minutes of histories, however many they are. */
const LONG_MS = 6 * 60_000

describe('the simulation', function () {
  this.timeout(600_000)

  it('comes to rest from every history with everybody reachable, and loses nobody on the way', async () => {
    // The same histories for the same program: what a rare one finds must not meet somebody who changed something else. `npm run
    // simulate` and the long form look for new ones.
    const histories = long ? { numRuns: 10_000, interruptAfterTimeLimit: LONG_MS } : { numRuns: 12, seed: 1 }
    await fc.assert(outcome(), histories)
  })

  for (const [what, differs, history] of KNOWN_HISTORIES) {
    it(`comes to rest where ${what}`, () => simulate({ ...PLAIN, ...differs }, history))
  }
})
