import type { NetlinkNeeds } from '../../netlink/device-batch.ts'
import { ListedTable } from '../../netlink/listed-table.ts'
import type { Message } from '../../netlink/message.ts'
import {
  deleteFdb,
  dumpFdb,
  fdbOf,
  NEIGHBOUR_FORM,
  type NeighbourRecord,
  parseNeighbour,
  writeFdb,
} from '../../netlink/neighbour-messages.ts'
import type { ObjectTable, Op } from '../../table.ts'
import type { Fdb } from './kind.ts'

/**
 * Permanent entries of vxlan devices' own forwarding databases. The kernel keeps one far end per unicast address; for all-zero and
 * multicast ones, which are never ours, there may be several objects of one key.
 */
export class FdbTable extends ListedTable<NeighbourRecord, Fdb> implements ObjectTable<Fdb> {
  readonly kind = 'fdb'

  constructor(needs: NetlinkNeeds) {
    super(needs, { request: dumpFdb, form: NEIGHBOUR_FORM })
  }

  protected parse(message: Message): NeighbourRecord | undefined {
    const record = parseNeighbour(message)
    return record === undefined || fdbOf(record, '') === undefined ? undefined : record
  }

  protected indexOf({ index }: NeighbourRecord): number {
    return index
  }

  protected objectOf(record: NeighbourRecord): Fdb | undefined {
    return fdbOf(record, this.needs.devices.nameOf(record.index) ?? '')
  }

  protected message({ verb, object }: Op<Fdb>, index: number): Uint8Array {
    if (verb === 'remove') return deleteFdb(object, index)
    return writeFdb(object, index, verb === 'create' ? 'create' : 'replace')
  }
}
