import fc from 'fast-check'
import { histories } from './history.ts'
import { scenarios } from './scenario.ts'
import { simulate } from './simulation.ts'
import { MOST_NODES } from './world.ts'

/** From every history all comes to rest with everybody reachable, and nobody is lost on the way. `afterwards`: what must hold besides. */
export function outcome(afterwards: () => void = () => {}) {
  return fc.asyncProperty(scenarios, histories(MOST_NODES), async (scenario, history) => {
    await simulate(scenario, history)
    afterwards()
  })
}
