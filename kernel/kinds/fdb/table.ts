import { type NetlinkNeeds, resultOf, sendOps } from '../../netlink/device-batch.ts'
import { DumpDigest } from '../../netlink/dump-digest.ts'
import {
  deleteFdb,
  dumpFdb,
  fdbOf,
  NEIGHBOUR_FORM,
  parseNeighbour,
  writeFdb,
} from '../../netlink/neighbour-messages.ts'
import type { ObjectTable, Op, OpResult } from '../../table.ts'
import type { Fdb } from './kind.ts'

/**
 * Permanent entries of vxlan devices' own forwarding databases. The kernel keeps one far end per unicast address; for all-zero and
 * multicast ones, which are never ours, there may be several objects of one key.
 */
export class FdbTable implements ObjectTable<Fdb> {
  readonly kind = 'fdb'
  readonly #needs: NetlinkNeeds
  readonly #digest: DumpDigest

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
    this.#digest = new DumpDigest(needs, NEIGHBOUR_FORM)
  }

  async unchanged(): Promise<boolean> {
    return await this.#digest.unchanged(dumpFdb())
  }

  async dump(): Promise<readonly Fdb[]> {
    const { devices } = this.#needs
    const records = await this.#digest.dump(dumpFdb(), (message) => {
      const record = parseNeighbour(message)
      return record === undefined || fdbOf(record, '') === undefined ? undefined : record
    })
    if (records.some(({ index }) => devices.nameOf(index) === undefined)) await devices.refresh()
    return records.flatMap((record) => fdbOf(record, devices.nameOf(record.index) ?? '') ?? [])
  }

  async apply(ops: readonly Op<Fdb>[]): Promise<readonly OpResult[]> {
    const verdicts = await sendOps(this.#needs, ops, ({ verb, object }, index) => {
      if (verb === 'remove') return deleteFdb(object, index)
      return writeFdb(object, index, verb === 'create' ? 'create' : 'replace')
    })
    return verdicts.map(resultOf)
  }
}
