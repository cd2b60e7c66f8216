import type { Family } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import { deviceNameFits, LONGEST_DEVICE_NAME, SMALLEST_MTU } from '../devices.ts'
import { vtepDevice } from './vtep.ts'

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

/** Headers before the inner packet where the outer one is IPv4: IP, UDP, VXLAN, Ethernet. */
export const VXLAN_HEADERS = 50

/** The kernel's default port for VXLAN on Linux; IANA's 4789 is not it. */
export const KERNEL_PORT = 8472

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

export function writtenVxlan({ vni, port, gbp, learning, directRouting, outerMtu = 0 }: VxlanConfig) {
  return { VNI: vni, Port: port, GBP: gbp, Learning: learning, DirectRouting: directRouting, MTU: outerMtu }
}

/**
 * Which numbers the devices allow depends on the families: each has a device of its own. An MTU with which only IPv6
 * cannot work beside IPv4 is no fault here: one family's trouble leaves the other alone.
 *
 * @throws ConfigError
 */
export function checkVxlanConfig({ vni, outerMtu }: VxlanConfig, families: Iterable<Family>): void {
  const enabled = [...families]
  for (const family of enabled) {
    const name = vtepDevice(family, vni)
    if (deviceNameFits(name)) continue
    const most = 10 ** (LONGEST_DEVICE_NAME - vtepDevice(family, 0).length + 1) - 1
    const why = `the device ${name} would have ${name.length} characters, and the kernel takes ${LONGEST_DEVICE_NAME}`
    throw new ConfigError('Backend.VNI', `must be at most ${most} where IPv${family} is enabled (${why})`, vni)
  }
  const inner = Math.min(...enabled.map((family) => SMALLEST_MTU[family]))
  const least = inner + VXLAN_HEADERS
  if (outerMtu === undefined || outerMtu >= least) return
  const why = `the device gets ${VXLAN_HEADERS} bytes less, and the kernel takes none below ${inner}`
  throw new ConfigError('Backend.MTU', `must be from ${least} to 65535, or 0 for that of the uplink (${why})`, outerMtu)
}
