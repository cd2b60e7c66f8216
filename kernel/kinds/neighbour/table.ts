import { type NetlinkNeeds, resultOf, sendOps } from '../../netlink/device-batch.ts'
import { DumpDigest } from '../../netlink/dump-digest.ts'
import {
  deleteNeighbour,
  dumpNeighbours,
  getNeighbour,
  NEIGHBOUR_FORM,
  NUD_PERMANENT,
  neighbourOf,
  parseNeighbour,
  writeNeighbour,
} from '../../netlink/neighbour-messages.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import type { Neighbour } from './kind.ts'

/** Permanent entries of the ARP and ND tables. What the kernel has resolved by itself is not listed and not in the way. */
export class NeighbourTable implements ObjectTable<Neighbour> {
  readonly kind = 'neighbour'
  readonly #needs: NetlinkNeeds
  readonly #digest: DumpDigest

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
    this.#digest = new DumpDigest(needs, NEIGHBOUR_FORM)
  }

  async unchanged(): Promise<boolean> {
    return await this.#digest.unchanged(dumpNeighbours())
  }

  async dump(): Promise<readonly Neighbour[]> {
    const { devices } = this.#needs
    const records = await this.#digest.dump(dumpNeighbours(), (message) => {
      const record = parseNeighbour(message)
      return record !== undefined && record.state & NUD_PERMANENT ? record : undefined
    })
    if (records.some(({ index }) => devices.nameOf(index) === undefined)) await devices.refresh()
    return records.flatMap((record) => neighbourOf(record, devices.nameOf(record.index) ?? '') ?? [])
  }

  async apply(ops: readonly Op<Neighbour>[]): Promise<readonly OpResult[]> {
    const verdicts = await sendOps(this.#needs, ops, ({ verb, object }, index) => {
      if (verb === 'remove') return deleteNeighbour(object, index)
      return writeNeighbour(object, index, verb === 'create' ? 'create' : 'replace')
    })
    for (const [at, op] of ops.entries()) {
      if (op.verb === 'create' && verdicts[at]?.code === 'EEXIST') verdicts[at] = await this.#overDynamic(op)
    }
    return verdicts.map(resultOf)
  }

  // A packet sent before the entry was made leaves an unresolved one at its key. Only a permanent one is somebody's.
  async #overDynamic(op: Op<Neighbour>): Promise<OpError | undefined> {
    const { channel, devices } = this.#needs
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
