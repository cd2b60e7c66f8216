import type { ExternalInterface } from '../../backends/backend.ts'
import type { Logger } from '../../lib/log.ts'
import type { AgentNeeds } from '../node/agent-needs.ts'
import { hostConditions } from '../status/node-conditions.ts'
import type { HostView } from './host-view.ts'
import { isSameChoice } from './kept-choice.ts'

/** Reads the host when it changes, tells which interface is in use now, and leaves connections that its change has cut. */
export async function followHost(
  {
    conditions,
    log,
    lifecycle,
    reconnectStore,
  }: Pick<AgentNeeds, 'conditions' | 'log' | 'lifecycle' | 'reconnectStore'>,
  host: HostView,
  stop: AbortSignal,
): Promise<void> {
  let inUse = host.external
  await host.run(stop, (fault) => {
    conditions.replace('host', hostConditions(host.choice, fault))
    const before = inUse
    inUse = host.external
    if (isSameChoice(inUse, before)) return
    sayInterface(log, inUse)
    const present = new Set(host.interfaces.flatMap(({ addresses }) => addresses.map(({ address }) => address)))
    const gone = [...before.addresses.values()].filter((address) => !present.has(address)).join(' ')
    // A connection from there gets no answer; without this that would be noticed after seconds only.
    if (gone !== '') lifecycle.run('reconnect', () => reconnectStore(`this host no longer has the address ${gone}`))
  })
}

export function sayInterface(log: Logger, { name, mtu, publicIps, reason }: ExternalInterface): void {
  log.info('external interface chosen', { name, mtu, publicAddress: [...publicIps.values()].join(' '), why: reason })
}
