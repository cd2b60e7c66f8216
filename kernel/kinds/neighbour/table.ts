import { type NetlinkNeeds, resultOf } from '../../netlink/device-batch.ts'
import { ListedTable } from '../../netlink/listed-table.ts'
import type { Message } from '../../netlink/message.ts'
import {
  deleteNeighbour,
  dumpNeighbours,
  getNeighbour,
  NEIGHBOUR_FORM,
  type NeighbourRecord,
  NUD_PERMANENT,
  neighbourOf,
  parseNeighbour,
  writeNeighbour,
} from '../../netlink/neighbour-messages.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import type { Neighbour } from './kind.ts'

/** Permanent entries of the ARP and ND tables. What the kernel has resolved by itself is not listed and not in the way. */
export class NeighbourTable extends ListedTable<NeighbourRecord, Neighbour> implements ObjectTable<Neighbour> {
  readonly kind = 'neighbour'

  constructor(needs: NetlinkNeeds) {
    super(needs, { request: dumpNeighbours, form: NEIGHBOUR_FORM })
  }

  override async apply(ops: readonly Op<Neighbour>[]): Promise<readonly OpResult[]> {
    const verdicts = await this.send(ops)
    for (const [at, op] of ops.entries()) {
      if (op.verb === 'create' && verdicts[at]?.code === 'EEXIST') verdicts[at] = await this.#overDynamic(op)
    }
    return verdicts.map(resultOf)
  }

  protected parse(message: Message): NeighbourRecord | undefined {
    const record = parseNeighbour(message)
    return record !== undefined && record.state & NUD_PERMANENT ? record : undefined
  }

  protected indexOf({ index }: NeighbourRecord): number {
    return index
  }

  protected objectOf(record: NeighbourRecord): Neighbour | undefined {
    return neighbourOf(record, this.needs.devices.nameOf(record.index) ?? '')
  }

  protected message({ verb, object }: Op<Neighbour>, index: number): Uint8Array {
    if (verb === 'remove') return deleteNeighbour(object, index)
    return writeNeighbour(object, index, verb === 'create' ? 'create' : 'replace')
  }

  // A packet sent before the entry was made leaves an unresolved one at its key. Only a permanent one is somebody's.
  async #overDynamic(op: Op<Neighbour>): Promise<OpError | undefined> {
    const { channel, devices } = this.needs
    const index = devices.indexOf(op.object.device) ?? 0
    let permanent = false
    const [refusal] = await channel.request([getNeighbour(op.object, index)], (_request, message) => {
      permanent = ((parseNeighbour(message)?.state ?? 0) & NUD_PERMANENT) !== 0
    })
    if (permanent || (refusal !== undefined && refusal.code !== 'ENOENT')) {
      return { code: 'EEXIST', message: 'another permanent entry is there' }
    }
    const [verdict] = await channel.request([writeNeighbour(op.object, index, 'replace')])
    return verdict
  }
}
