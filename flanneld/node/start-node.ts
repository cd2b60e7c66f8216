import type { Way } from '../../backends/way.ts'
import { scopeWith } from '../../kernel/reconciler/journal.ts'
import type { Cidr } from '../../lib/address.ts'
import { firstOf } from '../../lib/latest.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { Surroundings } from '../../subnet/surroundings.ts'
import type { LeaseSnapshot, LeaseStore } from '../../subnet/types.ts'
import { sayInterface } from '../host/follow-host.ts'
import type { HostView } from '../host/host-view.ts'
import { leaseAttrs } from '../leases/lease-attrs.ts'
import { LeaseKeeper } from '../leases/lease-keeper.ts'
import { keepLastSubnets, lastSubnets } from '../state/own-subnet.ts'
import { untilHad } from '../until-had.ts'
import type { AgentNeeds, AgentOptions, AgentView } from './agent-needs.ts'
import type { ConfigWatch } from './config-watch.ts'
import { footprintOf, openHost, prepareBackend, previousLease } from './node-setup.ts'

/** The task whose refusals are the operator's to settle at any time: another host holds the lease. */
export const OWN_LEASE = 'own lease'

/** Everything that is known once, at the start, and what runs from then on. */
export interface StartedNode {
  readonly network: NetworkConfig
  readonly way: Way
  readonly host: HostView
  readonly store: LeaseStore
  readonly snapshot: LeaseSnapshot
  readonly keeper: LeaseKeeper
}

/** What must happen between two steps of the start. */
export interface StartHooks {
  /** Hears of each part as soon as it is known, for the status. */
  readonly see: (more: AgentView) => void
  readonly configured: (network: NetworkConfig) => void
  /** The host is about to be read: from here on its changes must be heard. */
  readonly hostOpened: (host: HostView) => void
  /** The own subnets and those of accepted peers, once they are known. */
  readonly overlay: () => Iterable<Cidr> | undefined
  /** What a subnet could take away from this host, now. */
  readonly surroundings: (host: HostView) => Surroundings
  /** The addresses of the store were asked for. */
  readonly storeKnown: Promise<void>
}

/**
 * Configuration, leases, host, backend, own lease: in this order, each waiting for the one before. (What the own lease said
 * decides about the interface.) Throws what makes a start impossible; waits for what may still come.
 */
export async function startNode(
  needs: AgentNeeds,
  options: AgentOptions,
  config: ConfigWatch,
  hooks: StartHooks,
  signal: AbortSignal,
): Promise<StartedNode> {
  const { kernel, lifecycle, clock, randomBytes } = needs
  const configuration = await firstOf(config.changes.watch(signal), signal)
  const { network, backend } = configuration
  const { store } = needs
  lifecycle.run('lease store', (stop) => store.run(stop))
  hooks.see({ network })
  hooks.configured(network)
  const snapshot = await firstOf(store.watch(signal), signal)
  const { devices } = scopeWith(footprintOf(configuration), needs.state.journal.entries)
  const host = openHost(
    { kernel: kernel.host, clock, overlay: hooks.overlay },
    { wish: options.wish, network, devices },
    { ...options, snapshot },
  )
  hooks.hostOpened(host)
  await untilHad(needs, 'host', () => host.read(), signal)
  sayInterface(needs.log, host.external)
  hooks.see({ host })
  const previous = previousLease(snapshot, options.nodeId, host)?.primary
  const prepare = () => prepareBackend(configuration, { network, previous, randomBytes }, host)
  const prepared = await untilHad(needs, 'backend', prepare, signal)
  const way = { backend, config: configuration.config, ...prepared, since: clock.now() }
  await hooks.storeKnown
  const surroundings = () => hooks.surroundings(host)
  const keeper = await keepLease(needs, options, { network, store, way, host, surroundings })
  hooks.see({ ways: [way], keeper, snapshot })
  return { network, way, host, store, snapshot, keeper }
}

async function keepLease(
  needs: AgentNeeds,
  options: AgentOptions,
  {
    network,
    store,
    way,
    host,
    surroundings,
  }: Pick<StartedNode, 'network' | 'store' | 'way' | 'host'> & { surroundings: () => Surroundings },
): Promise<LeaseKeeper> {
  const { clock, log, lifecycle } = needs
  const { files } = needs.state
  const facts = await host.facts(new Map(), 'unused')
  const keeper = new LeaseKeeper(
    { store, clock, log },
    {
      sinceBoot: options.previousSubnets,
      surroundings,
      protectedRanges: options.protectedRanges,
      renewMarginMs: options.renewMarginMs,
    },
  )
  const attrs = leaseAttrs(options.nodeId, way.path, facts)
  // The record is ours alone; subnet.env may be of a run before it, or of another program.
  const previous = new Map([...options.previousSubnets, ...(await lastSubnets({ files, log }, network))])
  keeper.setWant({ attrs, network, previous })
  lifecycle.run(OWN_LEASE, (stop) => keeper.run(stop))
  lifecycle.run('own subnet', (stop) => keepLastSubnets(files, network, keeper.state, stop))
  return keeper
}
