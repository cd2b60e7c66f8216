import { JsonFields } from '../lib/json-fields.ts'
import type { Backend } from './backend.ts'

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
  written: () => ({}),
  prepare: async () => ({ identity: null, path: { backend: '', data: new Map() } }),
  local: ({ facts }) => ({ objects: [], mtu: facts.external.mtu, notices: [] }),
  peer: () => ({ objects: [] }),
  devices: () => [{ names: new Map() }],
  reach: () => 'unused',
}
