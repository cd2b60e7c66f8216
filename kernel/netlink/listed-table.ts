import type { Op, OpError, OpResult } from '../table.ts'
import { type NetlinkNeeds, type OnDevice, resultOf, sendOps } from './device-batch.ts'
import { type DigestForm, DumpDigest } from './dump-digest.ts'
import type { Message } from './message.ts'

/**
 * What tables have in common whose objects are on devices and may be thousands: all are read by one dump, which is remembered by its
 * digest, and each is changed by one message. `R`: an object as the kernel tells it, its device by number.
 */
export abstract class ListedTable<R, O extends OnDevice> {
  abstract readonly kind: O['kind']
  protected readonly needs: NetlinkNeeds
  readonly #request: () => Uint8Array
  readonly #digest: DumpDigest

  /** `request` asks for the dump. */
  constructor(needs: NetlinkNeeds, dump: { readonly request: () => Uint8Array; readonly form: DigestForm }) {
    this.needs = needs
    this.#request = dump.request
    this.#digest = new DumpDigest(needs, dump.form)
  }

  async unchanged(): Promise<boolean> {
    return await this.#digest.unchanged(this.#request())
  }

  async dump(): Promise<readonly O[]> {
    const { devices } = this.needs
    const records = await this.records()
    const isNew = (index: number | undefined) => index !== undefined && devices.nameOf(index) === undefined
    if (records.some((record) => isNew(this.indexOf(record)))) await devices.refresh()
    return records.flatMap((record) => this.objectOf(record) ?? [])
  }

  async apply(ops: readonly Op<O>[]): Promise<readonly OpResult[]> {
    return (await this.send(ops)).map(resultOf)
  }

  /** @throws OpFailure */
  protected async records(): Promise<readonly R[]> {
    return await this.#digest.dump(this.#request(), (message) => this.parse(message))
  }

  /** Verdicts of the kernel, in order; undefined for success. */
  protected async send(ops: readonly Op<O>[]): Promise<(OpError | undefined)[]> {
    return await sendOps(this.needs, ops, (op, index) => this.message(op, index))
  }

  /** Undefined for what is not of the kind. */
  protected abstract parse(message: Message): R | undefined
  /** Number of the device; undefined: it is on none. */
  protected abstract indexOf(record: R): number | undefined
  protected abstract objectOf(record: R): O | undefined
  protected abstract message(op: Op<O>, index: number): Uint8Array
}
