import fc from 'fast-check'
import { histories } from './history.ts'
import { Simulation } from './simulation.ts'

export const NODES = 3

/** From every history all comes to rest with everybody reachable, and nobody is lost on the way. */
export function outcome(nodes: number) {
  const backends = fc.constantFrom('vxlan', 'vxlan', 'host-gw')
  return fc.asyncProperty(histories(nodes), backends, fc.nat(), (history, backend, seed) =>
    new Simulation({ nodes, backend, seed }).run(history),
  )
}
