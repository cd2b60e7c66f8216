import { Events } from './events.ts'
import type { Step } from './history.ts'
import { Invariants } from './invariants.ts'
import { assertAsFromScratch, comeToRest } from './rest.ts'
import type { Scenario } from './scenario.ts'
import { World } from './world.ts'

/** All leases are held and all is in the kernels. */
const SETTLED_MS = 1_000

/** Runs one history; throws what was broken on the way or at rest. */
export async function simulate(scenario: Scenario, history: readonly Step[]): Promise<void> {
  const world = new World(scenario)
  const invariants = new Invariants(world)
  const events = new Events({ world, invariants })
  try {
    if (scenario.hasFlannel) events.leaveFlannel()
    if (scenario.hasRack) await events.happen({ do: 'rack', what: 'arrives' })
    if (scenario.isRunning) for (const node of world.nodes) node.start()
    await invariants.pass(scenario.isRunning ? SETTLED_MS : 1)
    for (const step of history) {
      await events.happen(step)
      await invariants.pass(1)
    }
    await comeToRest(world, invariants)
    await assertAsFromScratch(world, world.node(scenario.seed))
  } finally {
    world.close()
  }
}
