import type { IpAddr } from '../../lib/address.ts'
import type { Clock } from '../../lib/clock.ts'
import { messageOf } from '../../lib/errors.ts'
import type { ProbePort } from './probe-port.ts'

const AGAIN_MS = 200
/** The address that the port is bound to may just have been made. */
const PATIENCE_MS = 2_000

/** Keeps the probes' port open at the addresses of the own subnets while the node changes its way. */
export class ProbeOpening {
  readonly #needs: { readonly probes: Pick<ProbePort, 'open'>; readonly clock: Clock }
  #opened = ''
  /** `since`, `until`: from when on it could not be had, and until when it is not tried again. */
  #fault: { readonly text: string; readonly since: number; readonly until: number } | undefined

  constructor(needs: { readonly probes: Pick<ProbePort, 'open'>; readonly clock: Clock }) {
    this.#needs = needs
  }

  get isOpen(): boolean {
    return this.#opened !== ''
  }

  /** Why it cannot be had; empty: that is tried. Undefined: it is open, or was never wanted. */
  get fault(): string | undefined {
    const fault = this.#fault
    if (fault === undefined) return undefined
    return this.#needs.clock.now() - fault.since < PATIENCE_MS ? '' : fault.text
  }

  /** To be called again and again. */
  async open(addresses: readonly IpAddr[], taken: readonly number[]): Promise<void> {
    const { clock, probes } = this.#needs
    const wanted = [...addresses, ...taken].join(' ')
    if (wanted === this.#opened || clock.now() < (this.#fault?.until ?? 0)) return
    try {
      await probes.open(addresses, taken)
      this.#opened = wanted
      this.#fault = undefined
    } catch (cause) {
      const now = clock.now()
      this.#fault = { text: messageOf(cause), since: this.#fault?.since ?? now, until: now + AGAIN_MS }
    }
  }

  async close(): Promise<void> {
    this.#opened = ''
    this.#fault = undefined
    await this.#needs.probes.open([], [])
  }
}
