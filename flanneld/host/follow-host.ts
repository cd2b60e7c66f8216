import type { ExternalInterface } from '../../backends/backend.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Lifecycle } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import { awaitedInterface, hostConditions } from '../status/node-conditions.ts'
import type { ConditionSet } from '../status/status.ts'
import { untilHad } from '../until-had.ts'
import { NoInterfaceError } from './external-interface.ts'
import type { HostView } from './host-view.ts'
import { isSameChoice } from './kept-choice.ts'

interface Needs {
  readonly conditions: ConditionSet
  readonly clock: Clock
  readonly log: Logger
  readonly lifecycle: Lifecycle
  readonly reconnectStore: (why: string) => Promise<void>
  /** Whether the store has not answered yet, so that an interface may still be on its way: flannel, too, asks the store first. */
  readonly isStoreSilent: () => boolean
}

/** Between two looks for an interface. */
const LOOK_MS = 1_000

/**
 * Reads the host, then again when it changes, tells which interface is in use now, and leaves connections that its change has cut.
 * `onRead`: it was read for the first time. Throws what makes the first reading impossible.
 */
export async function followHost(needs: Needs, host: HostView, onRead: () => void, stop: AbortSignal): Promise<void> {
  const { conditions, log, lifecycle, reconnectStore } = needs
  await untilRead(needs, host, stop)
  sayInterface(log, host.external)
  log.debug('nexthop objects looked for', { found: host.hasNexthops })
  onRead()
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

async function untilRead(needs: Needs, host: HostView, stop: AbortSignal): Promise<void> {
  for (;;) {
    try {
      await untilHad(needs, 'host', () => host.read(), stop)
      return
    } catch (cause) {
      if (!(cause instanceof NoInterfaceError) || !needs.isStoreSilent()) throw cause
      needs.conditions.replace('host', [awaitedInterface(cause.message)])
    }
    await needs.clock.sleep(LOOK_MS, stop)
  }
}

function sayInterface(log: Logger, { name, mtu, publicIps, reason }: ExternalInterface): void {
  log.info('external interface chosen', { name, mtu, publicAddress: [...publicIps.values()].join(' '), why: reason })
}
