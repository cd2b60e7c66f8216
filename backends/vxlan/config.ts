import { JsonFields } from '../../lib/json-fields.ts'

export interface VxlanConfig {
  readonly vni: number
  /** UDP port, host byte order. */
  readonly port: number
  readonly gbp: boolean
  readonly learning: boolean
  readonly directRouting: boolean
  /** Bytes of the outer packets; undefined: the external interface's MTU. */
  readonly outerMtu: number | undefined
}

/** The kernel's default port for VXLAN on Linux; IANA's 4789 is not it. */
const KERNEL_PORT = 8472

export function parseVxlanConfig(raw: unknown, warnings: string[]): VxlanConfig {
  const fields = new JsonFields(raw, 'Backend')
  // Keys that flannel reads only on Windows, and the type that brought us here.
  for (const known of ['Type', 'MacPrefix', 'Name']) fields.has(known)
  const mtu = fields.integer('MTU', { least: 0, most: 65535, fallback: 0 })
  const config = {
    vni: fields.integer('VNI', { least: 1, most: 16777215, fallback: 1 }),
    port: fields.integer('Port', { least: 0, most: 65535, fallback: 0 }) || KERNEL_PORT,
    gbp: fields.boolean('GBP', false),
    learning: fields.boolean('Learning', false),
    directRouting: fields.boolean('DirectRouting', false),
    outerMtu: mtu === 0 ? undefined : mtu,
  }
  warnings.push(...fields.unknownKeys())
  return config
}
