import type { HostInterface, HostKernel } from '../../kernel/host.ts'
import type { Cidr, Family, IpAddr } from '../../lib/address.ts'
import { cidrOf, familyOf, prefixLength } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { candidatesOf } from './candidates.ts'
import {
  chooseExternalInterface,
  type HostSnapshot,
  type InterfaceOptions,
  NoInterfaceError,
  type Preference,
} from './external-interface.ts'
import { type Kept, keepOrMove } from './kept-choice.ts'

/** What the choice depends on beside the host, each as it is now. */
export interface ChoiceNeeds {
  readonly kernel: RoutePort
  readonly clock: Clock
  /** The enabled families. */
  readonly families: () => readonly Family[]
  /** Names of this instance's devices. */
  readonly devices: () => ReadonlySet<string>
  /** Chosen by the last run; asked for before the first choice only. */
  readonly previous: () => ReadonlyMap<Family, IpAddr>
  /** Those of the last run; asked for before the first choice only. */
  readonly lastFamilies: () => readonly Family[]
  /** The own subnets and those of accepted peers, as far as they are known. */
  readonly overlay: () => Iterable<Cidr>
}

/** What this file needs of the host: where the routes lead. */
export type RoutePort = Pick<HostKernel, 'defaultRouteDevices' | 'routeTo'>

/** The external interface of a running node: chosen by the options at the start, kept while it works. */
export class InterfaceChoice {
  readonly #needs: ChoiceNeeds
  readonly #interfaceOptions: InterfaceOptions
  #kept: Kept | undefined

  constructor(needs: ChoiceNeeds, options: { interfaceOptions: InterfaceOptions }) {
    this.#needs = needs
    this.#interfaceOptions = options.interfaceOptions
  }

  /** Looks at the host. Throws NoInterfaceError when nothing has ever fitted. */
  async look(interfaces: readonly HostInterface[]): Promise<Kept> {
    const enabled = this.#needs.families()
    const previous = this.#kept?.external.addresses ?? this.#needs.previous()
    const host = await this.#snapshot(interfaces, enabled, previous)
    const chooser =
      (families: readonly Family[]) =>
      (addresses: Preference['addresses'], whateverRoutesSay = false) =>
        chooseExternalInterface(host, this.#interfaceOptions, families, { addresses, whateverRoutesSay })
    const before = this.#kept ? withoutFamilies(this.#kept, enabled) : this.#first(enabled, previous, chooser)
    const choose = chooser([...before.external.addresses.keys()])
    const kept = keepOrMove(before, {
      interfaces,
      fresh: orFault(() => choose(before.external.addresses)),
      unbiased: orFault(() => choose(new Map())),
      now: this.#needs.clock.now(),
    })
    this.#kept = withMoreFamilies(kept, enabled, (addresses) => orFault(() => chooser(enabled)(addresses, true)))
    return this.#kept
  }

  /** Where the last run had only some of the families, those are enough to begin with. */
  #first(
    enabled: readonly Family[],
    previous: ReadonlyMap<Family, IpAddr>,
    chooser: (
      families: readonly Family[],
    ) => (addresses: Preference['addresses'], whatever: boolean) => Kept['external'],
  ): Kept {
    try {
      return { external: chooser(enabled)(previous, true) }
    } catch (cause) {
      const last = this.#needs.lastFamilies()
      const had = enabled.filter((family) => last.includes(family))
      if (!(cause instanceof NoInterfaceError) || had.length === 0 || had.length === enabled.length) throw cause
      return { external: chooser(had)(previous, true) }
    }
  }

  async #snapshot(
    interfaces: readonly HostInterface[],
    families: readonly Family[],
    previous: ReadonlyMap<Family, IpAddr>,
  ): Promise<HostSnapshot> {
    const { kernel, devices, overlay } = this.#needs
    const [holds, inUse] = [holderOf(overlay()), new Set(previous.values())]
    const candidates = candidatesOf(interfaces, { devices: devices(), holds, inUse })
    // A DHCP client that takes every new device for a network card gives ours a default route.
    const mayLead = new Set(candidates.map(({ name }) => name))
    const defaultRoutes = new Map<Family, string>()
    for (const family of families) {
      const device = (await kernel.defaultRouteDevices(family)).find((name) => mayLead.has(name))
      if (device !== undefined) defaultRoutes.set(family, device)
    }
    const target = this.#interfaceOptions.ifaceCanReach
    const canReach = target === undefined ? undefined : await kernel.routeTo(target)
    return { interfaces: candidates, defaultRoutes, canReach }
  }
}

/** Of a choice what is left where a family was turned off. */
function withoutFamilies(kept: Kept, enabled: readonly Family[]): Kept {
  const { addresses, publicIps } = kept.external
  if ([...addresses.keys()].every((family) => enabled.includes(family))) return kept
  const isLeft = ([family]: readonly [Family, IpAddr]) => enabled.includes(family)
  const external = {
    ...kept.external,
    addresses: new Map([...addresses].filter(isLeft)),
    publicIps: new Map([...publicIps].filter(isLeft)),
  }
  return { ...kept, external, rival: undefined }
}

/** A family that was turned on is carried by the interface in use or not at all: the others have their packets there. */
function withMoreFamilies(
  kept: Kept,
  enabled: readonly Family[],
  choose: (preferred: Preference['addresses']) => Kept['external'] | NoInterfaceError,
): Kept {
  const { external } = kept
  if (enabled.every((family) => external.addresses.has(family))) return kept
  const whole = choose(external.addresses)
  if (whole instanceof NoInterfaceError) return { ...kept, lacks: whole.message }
  const isSame = [...external.addresses].every(([family, address]) => whole.addresses.get(family) === address)
  if (whole.index === external.index && isSame) return { ...kept, external: whole, rival: undefined }
  return {
    ...kept,
    lacks: `with all families ${whole.name} would be chosen (${whole.reason}), and ${external.name} is in use`,
  }
}

function orFault<T>(choose: () => T): T | NoInterfaceError {
  try {
    return choose()
  } catch (cause) {
    if (cause instanceof NoInterfaceError) return cause
    throw cause
  }
}

/** Subnets have few lengths, so an address is looked up once for each instead of being compared with thousands. */
function holderOf(subnets: Iterable<Cidr>): (address: IpAddr) => boolean {
  const known = new Set(subnets)
  const lengths = new Map<Family, Set<number>>([
    [4, new Set()],
    [6, new Set()],
  ])
  for (const subnet of known) lengths.get(familyOf(subnet))?.add(prefixLength(subnet))
  return (address) => [...(lengths.get(familyOf(address)) ?? [])].some((length) => known.has(cidrOf(address, length)))
}
