import type { HostKernel } from '../../kernel/host.ts'
import { LOOPBACK } from '../../kernel/kinds/address/kind.ts'
import type { DesiredObject } from '../../kernel/objects.ts'
import type { HostSockets } from '../../kernel/sockets.ts'
import { OpFailure } from '../../kernel/table.ts'
import type { IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import { Latest } from '../../lib/latest.ts'
import type { Logger } from '../../lib/log.ts'
import { keptIn } from '../node/kept-addresses.ts'
import type { LevelSet } from '../node/levels.ts'
import type { Condition, ConditionSet } from '../status/status.ts'

interface SocketWatchNeeds {
  readonly levels: LevelSet
  readonly host: Pick<HostKernel, 'listInterfaces'>
  readonly sockets: Pick<HostSockets, 'countAt'>
  readonly conditions: ConditionSet
  readonly clock: Clock
  readonly log: Logger
}

const LOOK_MS = 5_000
/** A kernel without inet_diag. */
const CANNOT: ReadonlySet<string> = new Set(['ENOENT', 'EPROTONOSUPPORT', 'EOPNOTSUPP', 'EINVAL', 'EPERM'])
const GROUP = 'kept addresses'

/** Says of the addresses that stay on the loopback device when no socket has them any more. Looks at nothing while there is none. */
export class SocketWatch {
  readonly #needs: SocketWatchNeeds
  /** What the last plan keeps. */
  readonly #kept = new Latest<readonly IpAddr[]>('kept addresses')

  constructor(needs: SocketWatchNeeds) {
    this.#needs = needs
  }

  /** To be told of each plan: what belongs to no peer. */
  planned(own: readonly DesiredObject[]): void {
    const kept = keptIn(own)
    if (kept.join() !== (this.#kept.current ?? []).join()) this.#kept.set(kept)
    // With a device of its own it is used for something else: what was known of it counts no more.
    const { unusedAddresses } = this.#needs.levels.current
    if (unusedAddresses === undefined) return
    const given = own.flatMap((object) => (object.kind === 'address' ? [object.address] : []))
    const still = new Set([...unusedAddresses].filter((address) => !given.includes(address)))
    if (still.size < unusedAddresses.size) this.#needs.levels.set({ unusedAddresses: still })
  }

  /** Until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, conditions } = this.#needs
    for await (const _ of this.#kept.watch(signal)) {
      while (!signal.aborted && this.#addresses.length > 0) {
        await this.#look()
        await clock.sleep(LOOK_MS, signal).catch(() => {})
      }
      conditions.replace(GROUP, [])
    }
  }

  get #addresses(): readonly IpAddr[] {
    return this.#kept.current ?? []
  }

  async #look(): Promise<void> {
    const { levels, conditions } = this.#needs
    const kept = this.#addresses
    const unused = new Set(levels.current.unusedAddresses)
    const inUse = new Map<IpAddr, number>()
    for (const address of kept) {
      const count = await this.#countAt(address)
      if (count === 0) unused.add(address)
      else if (count !== undefined) inUse.set(address, count)
    }
    conditions.replace(GROUP, inUse.size === 0 ? [] : [staying(inUse)])
    if (unused.size > (levels.current.unusedAddresses?.size ?? 0)) levels.set({ unusedAddresses: unused })
  }

  /** Undefined: a device of the old way still has it, so that it is needed whatever sockets there are. */
  async #countAt(address: IpAddr): Promise<number | undefined> {
    const { host, sockets, log } = this.#needs
    const interfaces = await host.listInterfaces()
    const isElsewhere = interfaces.some(
      ({ name, addresses }) => name !== LOOPBACK && addresses.some((each) => each.address === address),
    )
    if (isElsewhere) return undefined
    try {
      return await sockets.countAt(address)
    } catch (cause) {
      if (!(cause instanceof OpFailure)) throw cause
      // Out of memory or of files, say: it is asked again.
      if (!CANNOT.has(cause.code)) return undefined
      const effect = 'those that are bound to it have to be opened anew'
      log.warn('sockets of this host cannot be listed, the address is not kept', {
        address,
        cause: messageOf(cause),
        effect,
      })
      return 0
    }
  }
}

function staying(inUse: ReadonlyMap<IpAddr, number>): Condition {
  const each = [...inUse].map(([address, count]) => `${address} (${count} socket${count === 1 ? '' : 's'})`)
  const filter = [...inUse.keys()].map((address) => `src ${address}`).join(' or ')
  return {
    code: 'address-kept',
    severity: 'info',
    text: `sockets of this host have an address of an earlier backend's device, which stays on ${LOOPBACK} until the last of them has ended: ${each.join(', ')}`,
    remedy: `none is needed; ss -a '${filter}' names them`,
  }
}
