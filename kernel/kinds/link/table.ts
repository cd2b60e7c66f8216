import { makeTun } from '../../ffi/tun.ts'
import { writeAddress } from '../../netlink/address-messages.ts'
import type { NetlinkChannel } from '../../netlink/channel.ts'
import { type NetlinkNeeds, resultOf } from '../../netlink/device-batch.ts'
import type { DeviceIndex } from '../../netlink/device-index.ts'
import { errorOf } from '../../netlink/kernel-error.ts'
import {
  changeDriver,
  changeLink,
  changeReversePath,
  createLink,
  deleteLink,
  type LinkRecord,
  linkOf,
} from '../../netlink/link-messages.ts'
import type { ObjectTable, Op, OpError, OpResult } from '../../table.ts'
import { tunHolder } from '../holders.ts'
import { compareDrivers, type LinkDriver, underlayOf } from './drivers/drivers.ts'
import type { Link } from './kind.ts'
import { obstacleTo } from './obstacles.ts'
import { withConflict } from './vxlan-conflict.ts'

/** Devices of every driver; makes those that this program makes. */
export class LinkTable implements ObjectTable<Link> {
  readonly kind = 'link'
  readonly #needs: NetlinkNeeds
  readonly #channel: NetlinkChannel
  readonly #devices: DeviceIndex

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
    this.#channel = needs.channel
    this.#devices = needs.devices
  }

  async dump(): Promise<readonly Link[]> {
    const records = await this.#devices.refresh()
    return records.map((record) => this.#linkOf(record))
  }

  // One by one: they are few, each may take milliseconds, and a device must be gone before its name is given again.
  async apply(ops: readonly Op<Link>[]): Promise<readonly OpResult[]> {
    const results: OpResult[] = []
    for (const op of ops) results.push(resultOf(await this.#explained(op, await this.#applyOne(op))))
    return results
  }

  /** Two ways in which another device or program can be in the way are worth a look at who that is. */
  async #explained(op: Op<Link>, error: OpError | undefined): Promise<OpError | undefined> {
    if (op.verb === 'remove' || error === undefined || !['EEXIST', 'EADDRINUSE'].includes(error.code)) return error
    return withConflict(op.object, error, await this.dump().catch(() => []))
  }

  async #applyOne(op: Op<Link>): Promise<OpError | undefined> {
    if (op.verb === 'create') return await this.#create(op.object)
    const record = await this.#devices.look(op.object.name)
    if (record === undefined) return { code: 'ENODEV', message: `there is no device ${op.object.name}` }
    const actual = this.#linkOf(record)
    // Between the dump and now the name may have become somebody else's.
    const before = 'actual' in op ? op.actual : op.object
    if (actual.driver.type !== before.driver.type) {
      return { code: 'EEXIST', message: `${actual.name} is another device by now` }
    }
    switch (op.verb) {
      case 'update':
        return await this.#update(record, actual, op.object)
      case 'remove':
        return await this.#delete(record)
      case 'recreate':
        return await this.#recreate(record, op.object)
    }
  }

  /** What cannot be made anew now stays as it is: it may carry packets still. */
  async #recreate(record: LinkRecord, link: Link): Promise<OpError | undefined> {
    return (await obstacleTo(link, this.#needs)) ?? (await this.#delete(record)) ?? (await this.#create(link))
  }

  async #create(link: Link): Promise<OpError | undefined> {
    const { inMaking } = this.#devices
    if (link.up) inMaking.add(link.name)
    const verdict = await this.#make(link)
    if (verdict !== undefined) inMaking.delete(link.name)
    return verdict
  }

  async #make(link: Link): Promise<OpError | undefined> {
    const { driver, name } = link
    if (driver.type === 'other') return { code: 'EOPNOTSUPP', message: `a device of driver ${driver.name} is not made` }
    if (driver.type === 'tun') return await this.#createTun(link)
    const underlay = await this.#underlayIndex(driver)
    if (underlay === undefined) return missingUnderlay(driver)
    const { firstAddress } = link
    const verdict = await this.#ask(createLink(firstAddress ? { ...link, up: false } : link, driver, underlay))
    const record = await this.#devices.look(name)
    if (verdict !== undefined || record === undefined || firstAddress === undefined) return verdict
    return await this.#bringUp(record.index, { ...link, firstAddress }, { ...link, up: false })
  }

  /** A device that receives as soon as it is up. */
  async #bringUp(
    index: number,
    link: Link & Required<Pick<Link, 'firstAddress'>>,
    actual: Link,
  ): Promise<OpError | undefined> {
    const address = { kind: 'address', device: link.name, family: 4, address: link.firstAddress, length: 32 } as const
    const verdict = await this.#ask(writeAddress(address, index, 'create'))
    if (verdict !== undefined && verdict.code !== 'EEXIST') return verdict
    return (await this.#ask(changeReversePath(index, LOOSE))) ?? (await this.#ask(changeLink(index, link, actual)))
  }

  async #createTun(link: Link): Promise<OpError | undefined> {
    const { name } = link
    // Opening it would succeed.
    if ((await this.#devices.look(name)) !== undefined) {
      return { code: 'EEXIST', message: `there is a device ${name} already` }
    }
    const verdict = tunVerdict(name)
    if (verdict !== undefined) return verdict
    const record = await this.#devices.look(name)
    if (record === undefined) return { code: 'ENODEV', message: `${name} was deleted again` }
    const actual = this.#linkOf(record)
    return await this.#ask(changeLink(record.index, link, actual))
  }

  async #underlayIndex(driver: LinkDriver): Promise<number | undefined> {
    const underlay = underlayOf(driver)
    if (underlay === undefined) return 0
    return this.#devices.indexOf(underlay) ?? (await this.#devices.look(underlay))?.index
  }

  async #update(record: LinkRecord, actual: Link, link: Link): Promise<OpError | undefined> {
    const { driver } = link
    if (driver.type === 'tun' && compareDrivers(actual.driver, driver) === 'update') {
      const verdict = tunVerdict(link.name)
      if (verdict !== undefined) return verdict
    } else if (driver.type !== 'other' && compareDrivers(actual.driver, driver) !== 'same') {
      const underlay = await this.#underlayIndex(driver)
      if (underlay === undefined) return missingUnderlay(driver)
      const verdict = await this.#ask(changeDriver(record.index, driver, underlay))
      // An older kernel refuses another device below, or leaves the old one without a word.
      if (verdict === undefined ? await this.#differs(link) : isUnsupported(verdict)) {
        return await this.#recreate(record, link)
      }
      if (verdict !== undefined) return verdict
    }
    const { firstAddress } = link
    if (firstAddress !== undefined && !actual.up) {
      return await this.#bringUp(record.index, { ...link, firstAddress }, actual)
    }
    return await this.#ask(changeLink(record.index, link, actual))
  }

  async #differs({ name, driver }: Link): Promise<boolean> {
    const record = await this.#devices.look(name)
    return record !== undefined && compareDrivers(this.#linkOf(record).driver, driver) !== 'same'
  }

  #linkOf(record: LinkRecord): Link {
    return linkOf(record, (index) => this.#devices.nameOf(index))
  }

  async #delete(record: LinkRecord): Promise<OpError | undefined> {
    const verdict = await this.#ask(deleteLink(record.index))
    if (verdict === undefined) this.#devices.delete(record.index)
    return verdict
  }

  async #ask(message: Uint8Array): Promise<OpError | undefined> {
    const [verdict] = await this.#channel.request([message])
    return verdict
  }
}

/** Source: Documentation/networking/ip-sysctl.rst of Linux, rp_filter. */
const LOOSE = 2
const EBUSY = 16
/** ENOENT, ENXIO, ENODEV. */
const NO_TUN = [2, 6, 19]

function tunVerdict(name: string): OpError | undefined {
  const errno = -makeTun(name)
  if (errno === 0) return undefined
  if (errno === EBUSY) return { code: 'EBUSY', message: `${tunHolder(name)} holds the device ${name}` }
  // Said as by a kernel that lacks the driver: that is what it means.
  if (NO_TUN.includes(errno)) return { code: 'EOPNOTSUPP', message: '/dev/net/tun is not there' }
  return errorOf(errno)
}

function isUnsupported({ code }: OpError): boolean {
  return code === 'EOPNOTSUPP' || code === 'EINVAL'
}

function missingUnderlay(driver: LinkDriver): OpError {
  return { code: 'ENODEV', message: `there is no device ${underlayOf(driver)}` }
}
