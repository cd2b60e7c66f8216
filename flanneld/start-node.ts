import type { Prepared } from '../backends/backend.ts'
import type { IpAddr } from '../lib/address.ts'
import { firstOf } from '../lib/latest.ts'
import type { NetworkConfig } from '../subnet/network-config.ts'
import type { LeaseSnapshot, LeaseStore } from '../subnet/types.ts'
import type { AgentNeeds, AgentOptions, AgentView } from './agent-needs.ts'
import { ConfigWatch, checkBackend } from './config-watch.ts'
import type { HostView } from './host/host-view.ts'
import { leaseAttrs } from './leases/lease-attrs.ts'
import { LeaseKeeper } from './leases/lease-keeper.ts'
import { activate, footprintOf, prepareBackend, previousLease, readHost } from './node-setup.ts'
import type { ActiveBackend } from './planner.ts'

/** Everything that is known once, at the start, and what runs from then on. */
export interface StartedNode {
  readonly network: NetworkConfig
  readonly active: ActiveBackend
  readonly prepared: Prepared<unknown>
  readonly host: HostView
  readonly store: LeaseStore
  readonly snapshot: LeaseSnapshot
  readonly keeper: LeaseKeeper
}

/** What must happen between two steps of the start. */
export interface StartHooks {
  /** Hears of each part as soon as it is known, for the status. */
  readonly see: (more: AgentView) => void
  /** The host was read: from here on its changes must be heard. */
  readonly hostRead: (host: HostView, network: NetworkConfig) => void
}

/**
 * Configuration, host, leases, backend, own lease: in this order, each waiting for the one before. Throws what makes a
 * start impossible; waits for what may still come.
 */
export async function startNode(
  needs: AgentNeeds,
  options: AgentOptions,
  hooks: StartHooks,
  signal: AbortSignal,
): Promise<StartedNode> {
  const { kernel, lifecycle, clock, randomBytes } = needs
  const { network, active } = await configure(needs, signal)
  // The leases are on their way while the host is read.
  const store = needs.openStore(network)
  lifecycle.run('lease store', (stop) => store.run(stop))
  const host = await readHost({ kernel: kernel.host, clock }, options.wish, network)
  sayInterface(needs, host)
  hooks.see({ network, host })
  hooks.hostRead(host, network)
  const snapshot = await firstOf(store.watch(signal), signal)
  const previous = previousLease(snapshot, options.nodeId, host)?.primary
  const prepared = await prepareBackend(active, { network, previous, randomBytes }, host)
  const identified = { ...active, identity: prepared.identity }
  const keeper = await keepLease(needs, options, { store, prepared, host })
  hooks.see({ active: identified, keeper, snapshot })
  return { network, active: identified, prepared, host, store, snapshot, keeper }
}

async function configure(
  needs: AgentNeeds,
  signal: AbortSignal,
): Promise<{ network: NetworkConfig; active: ActiveBackend }> {
  const { configSource, conditions, log, lifecycle, record } = needs
  const watch = new ConfigWatch({ source: configSource, conditions, check: checkBackend })
  lifecycle.run('configuration', (stop) => watch.run(stop))
  const { network, origin } = await watch.first(signal)
  const active = activate(network, (warning) => log.warn('configuration has an unknown key', { warning }))
  const networks = [...network.families.values()].map((part) => part.network).join(' ')
  log.info('network configuration read', { origin, backend: active.backend.type, networks })
  // Written before anything is made: a crash in between must not leave an orphan.
  await record(footprintOf(active, network))
  return { network, active }
}

function sayInterface(needs: AgentNeeds, host: HostView): void {
  const { name, mtu, publicIps, reason } = host.external
  const publicAddress = [...publicIps.values()].join(' ')
  needs.log.info('external interface chosen', { name, mtu, publicAddress, why: reason })
}

async function keepLease(
  needs: AgentNeeds,
  options: AgentOptions,
  { store, prepared, host }: Pick<StartedNode, 'store' | 'prepared' | 'host'>,
): Promise<LeaseKeeper> {
  const { clock, log, lifecycle } = needs
  const facts = await host.facts(new Map(), 'unused')
  const keeper = new LeaseKeeper(
    { store, clock, log },
    {
      want: leaseAttrs(options.nodeId, prepared.path, facts),
      hints: {
        previous: options.previousSubnets,
        ownsAddress: (address) => ownsAddress(host, address),
      },
      renewMarginMs: options.renewMarginMs,
    },
  )
  lifecycle.run('own lease', (stop) => keeper.run(stop))
  return keeper
}

function ownsAddress(host: HostView, address: IpAddr): boolean {
  return host.interfaces.some(({ addresses }) => addresses.some((own) => own.address === address))
}
