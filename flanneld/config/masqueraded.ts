import type { HostKernel } from '../../kernel/host.ts'
import type { Connections } from '../../kernel/rules/connections.ts'
import { OpFailure } from '../../kernel/table.ts'
import { type EndedConnections, endsWith, type LeavingRoute } from './ended-connections.ts'

interface MasqueradeReader {
  readonly rules: { readonly connections: Pick<Connections, 'count'> }
  readonly host: Pick<HostKernel, 'listInterfaces'>
}

/** How many masqueraded connections of this host end when these routes leave their device. */
export async function countEnded(
  { rules, host }: MasqueradeReader,
  routes: readonly LeavingRoute[],
): Promise<EndedConnections> {
  if (routes.length === 0) return { count: 0, unknown: '' }
  try {
    const interfaces = await host.listInterfaces()
    const addresses = new Map(
      interfaces.map((device) => [device.name, new Set(device.addresses.map(({ address }) => address))]),
    )
    return { count: await rules.connections.count(endsWith(routes, addresses)), unknown: '' }
  } catch (cause) {
    if (cause instanceof OpFailure) return { count: null, unknown: `${cause.message} (${cause.code})` }
    throw cause
  }
}
