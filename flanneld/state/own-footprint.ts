import type { DesiredState } from '../../kernel/desired.ts'
import type { KernelObject, ObjectKind } from '../../kernel/objects.ts'
import { preview } from '../../kernel/plan-ops.ts'
import type { ObjectTable, Op } from '../../kernel/table.ts'
import { contains } from '../../lib/address.ts'
import type { Logger } from '../../lib/log.ts'
import { type Footprint, isSameFootprint, keepingOf, NO_FOOTPRINT, overlap, withMore } from './footprint.ts'
import type { InstanceClaim } from './instance-claim.ts'
import type { StateDir } from './state-dir.ts'

/** Kinds whose objects bear no mark of their maker but a name, a port or a network of the footprint. */
const KINDS: ReadonlySet<ObjectKind> = new Set(['link', 'address', 'route', 'fou-port'])

interface Needs {
  readonly state: Pick<StateDir, 'footprint' | 'become'>
  readonly claim: Pick<InstanceClaim, 'make'>
  readonly tables: readonly ObjectTable[]
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
   * Gives up what `desired` does not need and the kernel does not hold, or only as another's. Reads the kernel, and only
   * where there is something to give up. True: the footprint is another one now. @throws OpFailure
   */
  async shrink(desired: DesiredState): Promise<boolean> {
    const { state, tables } = this.#needs
    const all = state.footprint
    if (isSameFootprint(all, keepingOf(all, this.#present, NOTHING))) return false
    const { ops } = await preview(
      tables.filter(({ kind }) => KINDS.has(kind)),
      desired,
    )
    const rest = withoutGone(all, this.#present, ops)
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

const NOTHING = { device: () => false, fouPort: () => false, network: () => false }

/** Pure: `ops` is what is still to be removed and made. */
export function withoutGone(all: Footprint, present: Footprint, ops: readonly Op<KernelObject>[]): Footprint {
  const objects = ops.flatMap((op) => (op.verb === 'remove' ? [op.object] : []))
  return keepingOf(all, present, {
    device: (name) =>
      objects.some((object) => (object.kind === 'link' ? object.name : 'device' in object && object.device) === name),
    fouPort: (port) => objects.some((object) => object.kind === 'fou-port' && object.port === port),
    network: ({ network }) => objects.some((object) => object.kind === 'route' && contains(network, object.dst)),
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
