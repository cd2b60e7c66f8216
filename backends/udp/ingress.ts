import type { Coalescer } from './coalescer.ts'
import type { Forwarding } from './forwarding.ts'
import type { PeerTable } from './peer-table.ts'
import { Counter } from './proxy-memory.ts'
import type { ReceiveBatch } from './receive-batch.ts'

/** From the socket to the tun, a batch at a time. */
export class Ingress {
  readonly #forwarding: Forwarding
  readonly #batch: ReceiveBatch
  readonly #tun: Coalescer
  readonly #counters: Float64Array

  constructor(needs: { forwarding: Forwarding; batch: ReceiveBatch; tun: Coalescer; counters: Float64Array }) {
    this.#forwarding = needs.forwarding
    this.#batch = needs.batch
    this.#tun = needs.tun
    this.#counters = needs.counters
  }

  /** How many messages came, or the negative errno of the socket; the tun's error goes to `onTunError`. */
  turn(table: PeerTable, onTunError: (errno: number) => void): number {
    const count = this.#batch.receive()
    this.#count(Counter.callsReceive, 1)
    if (count <= 0) return count
    for (let index = 0; index < count; index += 1) this.#message(index, table)
    const failure = this.#tun.flush()
    if (failure !== 0) onTunError(failure)
    this.#batch.done(count)
    return count
  }

  #message(index: number, table: PeerTable): void {
    const outer = this.#batch.source(index)
    const length = this.#batch.length(index)
    const size = this.#batch.datagramBytes(index)
    const start = this.#batch.at(index)
    if (!table.isPeer(outer)) {
      this.#count(Counter.dropStranger, size > 0 ? Math.ceil(length / size) : 1)
      return
    }
    // An empty datagram, or one cut off, is one malformed packet.
    if (length === 0) this.#count(Counter.dropMalformed, 1)
    for (let at = 0; at < length; at += size) {
      const total = this.#forwarding.incoming(start + at, Math.min(size, length - at), outer, table)
      if (total > 0) this.#tun.add(start + at, total)
      else this.#count(this.#forwarding.refusal, 1)
    }
  }

  #count(counter: number, by: number): void {
    this.#counters[counter] = (this.#counters[counter] ?? 0) + by
  }
}
