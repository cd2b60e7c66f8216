import { deleteFdb, dumpFdb, fdbOf, parseNeighbour, writeFdb } from '../netlink/neighbour-messages.ts'
import type { Fdb } from '../objects.ts'
import type { ObjectTable, Op, OpResult } from '../table.ts'
import { type NetlinkNeeds, resultOf, sendOps } from './device-batch.ts'

/**
 * Permanent entries of vxlan devices' own forwarding databases. One hardware address may have several far ends, to all of which
 * frames are then copied. They are listed as several objects of one key, the last appended first: the one that is not ours.
 */
export class FdbTable implements ObjectTable<Fdb> {
  readonly kind = 'fdb'
  readonly #needs: NetlinkNeeds

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
  }

  async dump(): Promise<readonly Fdb[]> {
    const { channel, devices } = this.#needs
    const records = await channel.dump(dumpFdb(), (message) => {
      const record = parseNeighbour(message)
      return record === undefined || fdbOf(record, '') === undefined ? undefined : record
    })
    if (records.some(({ index }) => devices.nameOf(index) === undefined)) await devices.refresh()
    return records.reverse().flatMap((record) => fdbOf(record, devices.nameOf(record.index) ?? '') ?? [])
  }

  async apply(ops: readonly Op<Fdb>[]): Promise<readonly OpResult[]> {
    const verdicts = await sendOps(this.#needs, ops, ({ verb, object }, index) => {
      if (verb === 'remove') return deleteFdb(object, index)
      return writeFdb(object, index, verb === 'create' ? 'create' : 'replace')
    })
    // The kernel replaces the first far end, and nothing when the wanted one is among several: the other has to be named.
    const replaced = ops.flatMap((op, at) =>
      'actual' in op && op.actual.dst !== op.object.dst && verdicts[at] === undefined
        ? [{ verb: 'remove' as const, object: op.actual }]
        : [],
    )
    if (replaced.length > 0) await sendOps(this.#needs, replaced, ({ object }, index) => deleteFdb(object, index))
    return verdicts.map(resultOf)
  }
}
