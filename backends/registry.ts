import { ConfigError } from '../lib/errors.ts'
import { alloc } from './alloc.ts'
import type { Backend, BackendTables, Ports } from './backend.ts'
import { hostGw } from './host-gw.ts'
import { ipip } from './ipip.ts'
import { udp } from './udp/backend.ts'
import { vxlan } from './vxlan/backend.ts'

/** A backend whose own types are nobody else's business. */
export type AnyBackend = Backend<unknown, unknown>

const BACKENDS: readonly AnyBackend[] = [
  vxlan as AnyBackend,
  hostGw as AnyBackend,
  ipip as AnyBackend,
  udp as AnyBackend,
  alloc as AnyBackend,
]

/** Of all backends: which one is in use is known later. */
export function openTables(ports: Ports): readonly BackendTables[] {
  return BACKENDS.flatMap((backend) => backend.tables?.(ports) ?? [])
}

const PLANNED = ['wireguard', 'extension']
const FLANNEL_ONLY = ['ipsec', 'tencent-vpc']

/** Throws ConfigError for a type that is unknown, flannel's alone, or not there yet. */
export function backendFor(type: string): AnyBackend {
  const found = BACKENDS.find((backend) => backend.type === type)
  if (found !== undefined) return found
  const known = BACKENDS.map((backend) => backend.type).join(', ')
  if (PLANNED.includes(type)) throw new ConfigError('Backend.Type', `is not available yet; use one of ${known}`, type)
  if (FLANNEL_ONLY.includes(type)) {
    throw new ConfigError('Backend.Type', `exists only in flannel; use one of ${known}`, type)
  }
  throw new ConfigError('Backend.Type', `must be one of ${known}`, type)
}
