import { Counter } from './proxy-memory.ts'

/** Reads between two waits from which on it pays to let more packets come together. */
const CROWD = 4
/** Writes in a row: half of what the socket of a program takes that set no buffer size (212,992 bytes, 277 small datagrams). */
const WRITES_IN_A_ROW = 128

/**
 * When a busy worker sleeps for a moment instead of going on, as a network card holds back interrupts. Measured with 64-byte
 * datagrams at full speed on two cores: a third fewer cycles per packet, and half as many again arrive at the program. One
 * datagram at a time, and TCP, are as fast as without.
 */
export class Moderation {
  readonly #counters: Float64Array
  #reads = 0
  #writes = 0

  /** `counters` of a ProxyMemory. */
  constructor(counters: Float64Array) {
    this.#counters = counters
  }

  /**
   * To be asked when nothing is left to do. True: packets come so fast that to wait for the next one costs more than to carry
   * it (each wakes the worker, and leaves in a train of few), so sleep and look again.
   */
  isCrowded(): boolean {
    const reads = this.#counters[Counter.callsRead] ?? 0
    const crowded = reads - this.#reads >= CROWD
    this.#reads = reads
    return crowded
  }

  /**
   * To be asked after packets were written. True: the programs that they are for should get the processor now: what is written
   * faster than they read is thrown away at their sockets, while in this one's there is room for thousands.
   */
  shouldYield(): boolean {
    const writes = this.#counters[Counter.callsWrite] ?? 0
    const many = writes - this.#writes >= WRITES_IN_A_ROW
    if (many) this.#writes = writes
    return many
  }

  /** To be called when the worker waited for packets: programs had the processor meanwhile. */
  waited(): void {
    this.#writes = this.#counters[Counter.callsWrite] ?? 0
  }
}
