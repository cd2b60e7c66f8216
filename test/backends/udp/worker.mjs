// Node 20 does not hand the loader of TypeScript down to a worker; in the bundle there is none.
import { register } from 'tsx/esm/api'

register()
await import('../../../backends/udp/worker.ts')
