import { familyOf } from '../../../lib/address.ts'
import { type NetlinkNeeds, resultOf } from '../../netlink/device-batch.ts'
import { ListedTable } from '../../netlink/listed-table.ts'
import type { Message } from '../../netlink/message.ts'
import { nexthopOf } from '../../netlink/nexthop-ids.ts'
import {
  deleteNexthop,
  dumpNexthops,
  getNexthop,
  type NexthopRecord,
  OWN_NEXTHOP_FORM,
  parseNexthop,
  parseOwnNexthop,
  writeNexthop,
} from '../../netlink/nexthop-messages.ts'
import { keyOf } from '../../objects.ts'
import { type ObjectTable, type Op, type OpError, OpFailure, type OpResult } from '../../table.ts'
import { byDetour } from '../route/detour.ts'
import { ROUTE_PROTOCOL } from '../route/numbers.ts'
import { type Nexthop, nexthopId, numberAfter } from './kind.ts'

/** Doubled with each number that is taken. */
const MOST_STEPS = 1 << 20
const GONE: OpError = { code: 'ENOENT', message: 'there is no such nexthop object' }

/** Nexthop objects of our form. All others are passed over: a routing daemon may have 100,000. */
export class NexthopTable extends ListedTable<NexthopRecord, Nexthop> implements ObjectTable<Nexthop> {
  readonly kind = 'nexthop'

  constructor(needs: NetlinkNeeds) {
    super(needs, { request: dumpNexthops, form: OWN_NEXTHOP_FORM })
  }

  /** None on a kernel without such objects (before 5.3). */
  override async dump(): Promise<readonly Nexthop[]> {
    const { nexthops } = this.needs
    const listed = await super.dump()
    // Of several at one key the first counts: the one with the number that follows from the key.
    const objects = [...listed.filter(({ id }) => id === undefined), ...listed.filter(({ id }) => id !== undefined)]
    nexthops.clear()
    const firsts = new Set<string>()
    for (const object of objects.some(({ id }) => id !== undefined) ? objects : []) {
      if (!firsts.has(keyOf(object))) nexthops.set(object, object.id ?? nexthopId(object))
      firsts.add(keyOf(object))
    }
    return objects
  }

  override async apply(ops: readonly Op<Nexthop>[]): Promise<readonly OpResult[]> {
    const removals = ops.filter(({ verb }) => verb === 'remove')
    const verdicts = new Map<Op<Nexthop>, OpError | undefined>(await this.#verify(removals))
    const due = ops.filter((op) => !verdicts.has(op))
    const answers = await this.send(due)
    for (const [at, op] of due.entries()) verdicts.set(op, await this.#secondTry(op, answers[at]))
    return ops.map((op) => resultOf(verdicts.get(op)))
  }

  // The kernel deletes by number alone, whatever bears it by now.
  async #verify(removals: readonly Op<Nexthop>[]): Promise<readonly [Op<Nexthop>, OpError][]> {
    const found = new Map<number, NexthopRecord>()
    const questions = removals.map(({ object }) => getNexthop(this.#numberOf(object)))
    await this.needs.channel.request(questions, (index, message) => found.set(index, parseNexthop(message)))
    return removals.flatMap((op, at) => (this.#isAt(found.get(at), op.object) ? [] : [[op, GONE] as const]))
  }

  async #secondTry(op: Op<Nexthop>, verdict: OpError | undefined): Promise<OpError | undefined> {
    if (op.verb !== 'create' || verdict === undefined) return verdict
    if (verdict.code === 'EEXIST') return await this.#withOtherNumber(op, verdict)
    if (verdict.code !== 'EINVAL') return verdict
    const second = (await this.#isRenumbered(op.object.device)) ? await this.#send(op) : verdict
    // IPv6 refuses a gateway to which a route leads over another device.
    return second?.code === 'EINVAL' && familyOf(op.object.via) === 6
      ? await byDetour(this.needs, op.object, (index) => this.message(op, index))
      : second
  }

  /** Whether the device was made anew since its number was learnt: the kernel says no more than that the number is invalid. */
  async #isRenumbered(device: string): Promise<boolean> {
    const { devices } = this.needs
    return devices.indexOf(device) !== (await devices.look(device))?.index
  }

  /** The number is taken. */
  async #withOtherNumber(op: Op<Nexthop>, taken: OpError): Promise<OpError | undefined> {
    const { object } = op
    const first = this.#numberOf(object)
    let verdict: OpError | undefined = taken
    for (let step = 1; verdict?.code === 'EEXIST' && step < MOST_STEPS; step *= 2) {
      // By this very object: the mirror was wrong.
      if (await this.#verify([op]).then((missing) => missing.length === 0)) return taken
      this.needs.nexthops.set(object, numberAfter(first, step))
      verdict = await this.#send(op)
    }
    return verdict
  }

  async #send(op: Op<Nexthop>): Promise<OpError | undefined> {
    const [verdict] = await this.send([op])
    return verdict
  }

  protected override async records(): Promise<readonly NexthopRecord[]> {
    try {
      return await super.records()
    } catch (cause) {
      if (cause instanceof OpFailure && cause.code === 'EOPNOTSUPP') return []
      throw cause
    }
  }

  protected parse(message: Message): NexthopRecord | undefined {
    return parseOwnNexthop(message)
  }

  protected indexOf({ gateway }: NexthopRecord): number | undefined {
    return gateway?.index
  }

  protected message({ verb, object }: Op<Nexthop>, index: number): Uint8Array {
    const id = this.#numberOf(object)
    if (verb === 'remove') return deleteNexthop(id)
    const gateway = { index, via: object.via, onLink: true }
    return writeNexthop({ id, protocol: ROUTE_PROTOCOL, gateway }, verb === 'create' ? 'create' : 'replace')
  }

  protected objectOf(record: NexthopRecord): Nexthop | undefined {
    return nexthopOf(record, this.needs.devices.nameOf(record.gateway?.index ?? 0))
  }

  #isAt(record: NexthopRecord | undefined, object: Nexthop): boolean {
    const found = record && this.objectOf(record)
    return found !== undefined && keyOf(found) === keyOf(object)
  }

  #numberOf(object: Nexthop): number {
    return object.id ?? this.needs.nexthops.of(object)
  }
}
