import fc from 'fast-check'
import { repeat } from '../long.ts'
import { outcome } from './property.ts'

describe('the simulation', function () {
  this.timeout(600_000)

  it('comes to rest from every history with everybody reachable, and loses nobody on the way', async () => {
    await fc.assert(outcome(), { numRuns: repeat(100, 10_000) })
  })
})
