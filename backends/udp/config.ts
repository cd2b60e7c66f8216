import { ConfigError } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'

export interface UdpConfig {
  /** UDP port of this node and of every peer, host byte order. */
  readonly port: number
  /** What carries the packets; `auto`: the kernel where it can, else a worker of this process. */
  readonly engine: 'auto' | 'kernel' | 'userspace'
}

const ENGINES: readonly UdpConfig['engine'][] = ['auto', 'kernel', 'userspace']
export const FLANNEL_PORT = 8285

export function parseUdpConfig(raw: unknown, warnings: string[]): UdpConfig {
  const fields = new JsonFields(raw, 'Backend')
  fields.has('Type')
  const port = fields.integer('Port', { least: 0, most: 65535, fallback: 0 }) || FLANNEL_PORT
  const word = fields.string('Engine') ?? 'auto'
  const engine = ENGINES.find((name) => name === word)
  if (engine === undefined) throw new ConfigError(fields.at('Engine'), `must be one of ${ENGINES.join(', ')}`, word)
  warnings.push(...fields.unknownKeys())
  return { port, engine }
}
