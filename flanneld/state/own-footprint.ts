import type { DesiredState, Settlement } from '../../kernel/desired.ts'
import type { KernelObject, ObjectKind } from '../../kernel/objects.ts'
import { ownDeviceOf } from '../../kernel/reconciler/diff.ts'
import { contains } from '../../lib/address.ts'
import type { Logger } from '../../lib/log.ts'
import { type Footprint, isSameFootprint, keepingOf, NO_FOOTPRINT, overlap, withMore } from './footprint.ts'
import type { InstanceClaim } from './instance-claim.ts'
import type { StateDir } from './state-dir.ts'

/** Kinds whose objects bear no mark of their maker but a name, a port or a network of the footprint. */
const UNMARKED: readonly ObjectKind[] = ['link', 'address', 'route', 'fou-port']

interface Needs {
  readonly state: Pick<StateDir, 'footprint' | 'become'>
  readonly claim: Pick<InstanceClaim, 'make'>
  readonly log: Logger
}

/**
 * Which devices, FOU ports and networks in the kernel are this instance's. They are written down before they are made, and
 * given up as soon as the kernel has nothing of them any more: from then on the name is nobody's, and another's the day after.
 */
export class OwnFootprint {
  readonly #needs: Needs
  #present: Footprint = NO_FOOTPRINT

  constructor(needs: Needs) {
    this.#needs = needs
  }

  /**
   * What this configuration is going to use. What another running instance uses by now is its own, though this one once made
   * a device of that name.
   * @throws ConfigError when another running instance uses a part of `present`
   */
  async record(present: Footprint): Promise<void> {
    const { state, claim } = this.#needs
    this.#present = present
    const others = await claim.make(present)
    const all = withMore(state.footprint, present)
    await this.#become(withoutOthers(all, present, others), 'another instance uses it')
  }

  /**
   * After a pass that tried all of `desired`: gives up what that does not need, unless the kernel refused to let go of it.
   * What is there again the moment after is another program's, which makes it anew. True: the footprint is another one now.
   */
  async shrink(outcome: Pick<Settlement, 'failures' | 'unreadable'>, desired: DesiredState): Promise<boolean> {
    const all = this.#needs.state.footprint
    if (!desired.complete || UNMARKED.some((kind) => outcome.unreadable.has(kind))) return false
    const rest = withoutGone(all, this.#present, notRemoved(outcome, desired))
    if (isSameFootprint(all, rest)) return false
    await this.#become(rest, "the kernel has nothing of it any more but what is another program's")
    return true
  }

  async #become(next: Footprint, why: string): Promise<void> {
    const { state, log } = this.#needs
    const gone = [...state.footprint.devices].filter((name) => !next.devices.has(name))
    const networks = state.footprint.networks.filter((each) => !next.networks.includes(each))
    if (gone.length + networks.length > 0) {
      const fields = { devices: gone.join(' '), networks: networks.map(({ network }) => network).join(' ') }
      log.info('given up what an earlier configuration used', { ...fields, why })
    }
    await state.become(next)
  }
}

/** What is neither wanted nor gone. */
function notRemoved({ failures }: Pick<Settlement, 'failures'>, desired: DesiredState): readonly KernelObject[] {
  const unwanted = [...failures].filter(([key, { cause }]) => cause === 'refused' && !desired.objects.has(key))
  return unwanted.map(([, { object }]) => object)
}

/** Pure. */
export function withoutGone(all: Footprint, present: Footprint, remaining: readonly KernelObject[]): Footprint {
  return keepingOf(all, present, {
    device: (name) => remaining.some((object) => ownDeviceOf(object) === name),
    fouPort: (port) => remaining.some((object) => object.kind === 'fou-port' && object.port === port),
    network: ({ network }) => remaining.some((object) => object.kind === 'route' && contains(network, object.dst)),
  })
}

/** Pure. A network that overlaps another's is the other's. */
export function withoutOthers(all: Footprint, present: Footprint, others: readonly Footprint[]): Footprint {
  return keepingOf(all, present, {
    device: (name) => !others.some(({ devices }) => devices.has(name)),
    fouPort: (port) => !others.some(({ fouPorts }) => fouPorts?.has(port)),
    network: ({ network }) => !others.some(({ networks }) => networks.some((each) => overlap(each.network, network))),
  })
}
