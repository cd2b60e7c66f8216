import { JsonFields } from '../lib/json-fields.ts'
import type { Backend } from './backend.ts'
import { PlanBuilder } from './plan-builder.ts'

/** Only leases a subnet and writes subnet.env; somebody else carries the packets. */
export const alloc: Backend<null, null> = {
  type: 'alloc',
  wireType: '',
  parseConfig(raw, warnings) {
    const fields = new JsonFields(raw, 'Backend')
    fields.has('Type')
    warnings.push(...fields.unknownKeys())
    return null
  },
  prepare: async () => ({ identity: null, path: { backend: '', data: new Map() } }),
  plan: (input) => new PlanBuilder().build(input.facts.external.mtu),
  devices: () => [],
  reach: () => 'unused',
}
