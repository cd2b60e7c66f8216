import type { Measurement } from './measurement.ts'
import { OneHost } from './one-host.ts'

/** A node of a new cluster: from the start of the process until containers may be made. */
export const start: Measurement = {
  name: 'start',
  rounds: 7,
  figures: [{ key: 'env', title: 'start to subnet.env, no peers', unit: 's', digits: 3, goal: { under: 0.35 } }],
  async prepare(defer) {
    const world = await OneHost.create(0)
    defer(() => world.lab.close())
    return async (side) => {
      const began = performance.now()
      await world.start(side)
      await world.host.subnetEnv()
      const env = (performance.now() - began) / 1000
      await world.reset()
      return { env }
    }
  },
}
