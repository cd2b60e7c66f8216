import type { Lease } from '../../subnet/types.ts'
import { documentOf } from '../config/values.ts'
import { pathsOf } from '../node/choose-way.ts'
import { type Configuration, isDirect, parseConfiguration, wayKey } from '../node/configuration.ts'
import { following } from './follow.ts'
import type { WaysRecord } from './record.ts'
import { restingAt } from './switch.ts'

/**
 * With what a node begins that has no record of an earlier run. Others may be on their way to direct paths, or wait where the link takes
 * no container's address: a newcomer is then as one that comes from the tunnel, and proves its paths as they do. Undefined: it is at rest
 * with what is in use.
 */
export function newcomer(inUse: Configuration, leases: Iterable<Lease>): WaysRecord | undefined {
  const { backend, origin, subnets } = inUse
  if (!isDirect(inUse)) return undefined
  const isTunnelled = (lease: Lease) =>
    lease.node !== '' && pathsOf(lease).some((path) => path.backend === backend.wireType && !path.direct)
  if (![...leases].some(isTunnelled)) return undefined
  const document = documentOf(inUse)
  const text = JSON.stringify({ ...document, Backend: { ...document.Backend, DirectRouting: false } })
  const tunnel = parseConfiguration(text, origin, subnets)
  const key = wayKey(tunnel)
  return following({ state: restingAt(key), configurations: new Map([[key, tunnel]]) }, inUse)
}
