import type { HostKernel } from '../../kernel/host.ts'
import type { Cidr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NetworkConfig } from '../../subnet/network-config.ts'
import type { LeaseSnapshot } from '../../subnet/types.ts'
import { addressesOf, type LastRun, lastLease, subnetsOf } from '../leases/last-lease.ts'
import { type LevelSet, leasesSoFar } from '../node/levels.ts'
import type { InterfaceOptions } from './external-interface.ts'
import { HostSurroundings } from './host-surroundings.ts'
import { HostView } from './host-view.ts'
import { InterfaceChoice } from './interface-choice.ts'

/** A host that has not been read yet. Families, networks and the last run's lease are asked for when it is read, from the levels. */
export function openHost(
  needs: {
    readonly kernel: HostKernel
    readonly clock: Clock
    readonly levels: LevelSet
    readonly devices: () => ReadonlySet<string>
    /** The own subnets and those of accepted peers, from when they are known; before that the last run's count. */
    readonly overlay: () => Iterable<Cidr> | undefined
  },
  options: LastRun & { readonly interfaceOptions: InterfaceOptions },
): HostView {
  const { interfaceOptions, previousSubnets } = options
  const { levels } = needs
  const families = () => levels.current.configuration?.network.families ?? NO_FAMILIES
  const last = () => lastLease(options, leasesSoFar(levels.current)?.leases ?? NO_LEASES)
  const choice = new InterfaceChoice(
    {
      ...needs,
      families: () => [...families().keys()],
      previous: () => addressesOf(last(), interfaceOptions),
      lastFamilies: () => [...(last()?.families.keys() ?? [])],
      overlay: () => needs.overlay() ?? [...subnetsOf(last()), ...previousSubnets.values()],
    },
    { interfaceOptions },
  )
  const networks = () => Array.from(families().values(), (part) => part.network)
  const surroundings = new HostSurroundings({ ...needs, networks })
  return new HostView({ ...needs, choose: (interfaces) => choice.look(interfaces), surroundings })
}

const NO_FAMILIES: NetworkConfig['families'] = new Map()
const NO_LEASES: LeaseSnapshot['leases'] = new Map()
