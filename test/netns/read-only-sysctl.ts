// Sets rp_filter of a device in the network namespace that it is started in: `read-only-sysctl.ts DEVICE`.
import { createKernel } from '../../kernel/kernel.ts'
import type { Sysctl } from '../../kernel/objects.ts'
import { outcomes, tableOf } from './own-namespace.ts'

const kernel = await createKernel({})
const sysctls = tableOf<Sysctl>(kernel, 'sysctl')
const object = (key: string): Sysctl => ({
  kind: 'sysctl',
  path: `net/ipv4/conf/${process.argv[2]}/${key}`,
  value: '2',
})
const ops = ['rp_filter', 'arp_ignore'].map((key) => ({ verb: 'create' as const, object: object(key) }))
process.stdout.write(JSON.stringify(await outcomes(sysctls, ...ops)))
kernel.close()
