import type { OwnershipScope } from '../../kernel/desired.ts'
import type { HostKernel } from '../../kernel/host.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import { type Lifecycle, runTogether } from '../../lib/lifecycle.ts'
import type { Logger } from '../../lib/log.ts'
import { findOwnLease } from '../../subnet/own-lease.ts'
import type { ConfigText, LeaseSnapshot, LeaseStore } from '../../subnet/types.ts'
import { beginWith as beginConfiguration } from '../config/kept.ts'
import type { InterfaceOptions } from '../host/external-interface.ts'
import { followHost } from '../host/follow-host.ts'
import type { HostView } from '../host/host-view.ts'
import { occupiedAddresses, occupiedBy } from '../host/occupied.ts'
import { openHost } from '../host/open-host.ts'
import { StoreAddresses } from '../host/store-addresses.ts'
import type { WantedTraffic } from '../host/traffic-choice.ts'
import { type LastRun, pathOf, previousLease } from '../leases/last-lease.ts'
import { heldLease } from '../leases/lease-attrs.ts'
import { serviceConditions } from '../status/node-conditions.ts'
import type { ConditionSet } from '../status/status.ts'
import { ConfigWatch } from './config-watch.ts'
import type { Configuration, ObstacleBetween } from './configuration.ts'
import { type LevelSet, type Levels, leasesSoFar } from './levels.ts'
import { TrafficChoice } from './traffic.ts'
import { Ways } from './ways.ts'

export interface SourceNeeds {
  readonly kernel: { readonly host: HostKernel; readonly rules: Pick<Kernel['rules'], 'sets' | 'obstacles'> }
  readonly configSource: Source<ConfigText>
  /** That of the last run, asked before there is one of this run; absent: nothing is known of it. */
  readonly lastConfiguration?: () => Configuration | undefined
  readonly store: LeaseStore
  /** Of the store, where this node need not know the others first. */
  readonly ownFirst?: Source<LeaseSnapshot> | undefined
  readonly givenAddresses?: (() => ReadonlyMap<Family, IpAddr>) | undefined
  /** For a connection that nothing may come back on. */
  readonly reconnectStore: (why: string) => Promise<void>
  readonly serviceAddress?: IpAddr
  readonly conditions: ConditionSet
  readonly lifecycle: Lifecycle
  readonly clock: Clock
  readonly log: Logger
  readonly randomBytes: (count: number) => Uint8Array
  readonly levels: LevelSet
  /** Before anything is made of what is in it. @throws ConfigError when another instance uses a part of it */
  readonly claim: (footprint: OwnershipScope) => Promise<void>
  /** Filled with what keeps this host from having a way, by `wayKey`. */
  readonly refusals: Map<string, string>
  /** As in `Ways`. */
  readonly beside?: (() => readonly Configuration[]) | undefined
  /** Why there is no going from one configuration to the other without a restart. */
  readonly obstacleBetween: ObstacleBetween
  /** Names of the devices of this instance, of earlier configurations, too. */
  readonly devices: () => ReadonlySet<string>
  /** The own subnets and those of accepted peers, once they are known. */
  readonly overlay: () => Iterable<Cidr> | undefined
}

export interface SourceOptions extends LastRun {
  readonly interfaceOptions: InterfaceOptions
  readonly traffic: WantedTraffic
  readonly resyncMs: number
  readonly storeEndpoints: readonly string[]
}

/** What the fold tells what is wanted, and what others ask. */
export interface Sources {
  readonly config: Pick<ConfigWatch, 'useWaiting' | 'recall' | 'waiting'>
  readonly host: HostView
  readonly ways: Ways
  readonly traffic: TrafficChoice
}

/** Follows everything that a plan is made from, each by one subscription: what it says becomes a level. */
export function followSources(needs: SourceNeeds, options: SourceOptions): Sources {
  const { kernel, store, conditions, lifecycle, clock, log, randomBytes, levels } = needs
  const follow = <T>(source: Source<T>, levelOf: (value: T) => Levels) =>
    lifecycle.run(source.name, async (stop) => {
      for await (const value of source.watch(stop)) levels.set(levelOf(value))
    })

  const own = (leases: LeaseSnapshot['leases']) =>
    heldLease(levels.current.lease)?.lease ?? findOwnLease(leases, { node: options.nodeId, publicIps: new Map() })
  const leasesInUse = () => {
    const { ways = [], host, leases: known } = levels.current
    const occupied = host && occupiedBy(host.interfaces)
    return { own: own(known?.leases ?? new Map()), leases: known?.leases, occupied, isChanging: ways.length > 1 }
  }
  const beginWith = async (found: Configuration) => {
    const known = async () => {
      await levels.known(['leases'], lifecycle.signal)
      const { own, leases = new Map() } = leasesInUse()
      return { own, leases }
    }
    const occupied = () => occupiedAddresses(kernel.host)
    return await beginConfiguration(found, { last: needs.lastConfiguration?.(), leases: known, occupied })
  }
  const config = new ConfigWatch({ ...needs, source: needs.configSource, leases: leasesInUse, beginWith })
  lifecycle.run('configuration', (stop) => config.run(stop))
  follow(config.changes, (configuration) => {
    conditions.replace('services', serviceConditions(configuration.network, needs.serviceAddress))
    return { configuration }
  })

  lifecycle.run('lease store', (stop) => store.run(stop, { ownFirst: needs.ownFirst !== undefined }))
  follow(store, (leases) => ({ leases }))
  if (needs.ownFirst !== undefined) follow(needs.ownFirst, (ownFirst) => ({ ownFirst }))
  lifecycle.run('waiting configuration', async (stop) => {
    for await (const _ of levels.changes.watch(stop)) config.reconsider()
  })

  const host = openHost(
    { ...needs, kernel: kernel.host },
    { ...options, interfaceOptions: withGiven(options.interfaceOptions, needs.givenAddresses) },
  )
  lifecycle.run('host facts', async (stop) => {
    // The one says which families are needed, the others which address this host had.
    await levels.until((known) => known.configuration !== undefined && leasesSoFar(known) !== undefined, stop)
    const isStoreSilent = () => levels.current.leases?.recorded === true
    await followHost({ ...needs, isStoreSilent }, host, () => levels.set({ host }), stop)
  })
  // It says which families are looked for.
  follow(config.changes, () => {
    if (levels.current.host !== undefined) host.lookAgain()
    return {}
  })
  lifecycle.run('direct paths', (stop) => host.paths.run(stop))
  // It is the same view of the host, which says something else now.
  for (const changes of [host.changes, host.paths.changes]) follow(changes, () => ({}))

  const addresses = new StoreAddresses(needs, { endpoints: options.storeEndpoints })
  lifecycle.run('addresses of the store', async (stop) => {
    await addresses.first(stop)
    const tell = async (signal: AbortSignal) => {
      for await (const storeAddresses of addresses.changes.watch(signal)) levels.set({ storeAddresses })
    }
    await runTogether([tell, (signal) => addresses.run(signal)], stop)
  })

  const context = async (configuration: Configuration) => {
    const { network } = configuration
    const leases = leasesSoFar(levels.current)
    const lease = leases && previousLease(leases, options.nodeId, host)
    const facts = await host.facts(new Map(), 'unused')
    const previous = lease && pathOf(lease, configuration)
    return { network, facts, previous, randomBytes, hasFou: () => host.hasFou() }
  }
  const { claim, refusals, beside } = needs
  const standing = () => {
    const ours = needs.devices()
    const others = host.interfaces.flatMap(({ name }) => (ours.has(name) ? [] : [name]))
    return { devices: host.devices, others: new Set(others) }
  }
  const ways = new Ways({ clock, conditions, context, claim, refusals, beside, standing })
  lifecycle.run('backend', (stop) => ways.run(stop))
  follow(ways.changes, (known) => ({ ways: known }))

  // The programs that are asked answer while the leases are read and the own one is acquired.
  const traffic = new TrafficChoice({ ...kernel.rules, conditions, clock, log }, options)
  lifecycle.run('traffic rules', (stop) => traffic.run(stop))
  follow(traffic.changes, (chosen) => ({ traffic: chosen }))

  return { config, host, ways, traffic }
}

/** As they are when the host is read first: a public address decides which interface is chosen, and that stays. */
function withGiven(
  options: InterfaceOptions,
  givenAddresses: (() => ReadonlyMap<Family, IpAddr>) | undefined,
): InterfaceOptions {
  let known: ReadonlyMap<Family, IpAddr> | undefined
  const given = (family: Family) => {
    known ??= givenAddresses?.()
    return known?.get(family)
  }
  return {
    ...options,
    get publicIp() {
      return given(4) ?? options.publicIp
    },
    get publicIpv6() {
      return given(6) ?? options.publicIpv6
    },
  }
}
