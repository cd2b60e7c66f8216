import {
  deleteAddress,
  dumpAddresses,
  isKernelMade,
  parseAddress,
  writeAddress,
} from '../../netlink/address-messages.ts'
import { type NetlinkNeeds, resultOf, sendOps } from '../../netlink/device-batch.ts'
import type { ObjectTable, Op, OpResult } from '../../table.ts'
import type { Address } from './kind.ts'

/** Addresses of devices, of both families. The link-local ones that IPv6 makes by itself are left out. */
export class AddressTable implements ObjectTable<Address> {
  readonly kind = 'address'
  readonly #needs: NetlinkNeeds

  constructor(needs: NetlinkNeeds) {
    this.#needs = needs
  }

  async dump(): Promise<readonly Address[]> {
    const { channel, devices } = this.#needs
    const records = await channel.dump(dumpAddresses(), parseAddress)
    if (records.some(({ index }) => devices.nameOf(index) === undefined)) await devices.refresh()
    return records.flatMap((record) => {
      const device = devices.nameOf(record.index)
      if (device === undefined || isKernelMade(record)) return []
      const { family, address, length } = record
      return [{ kind: 'address', device, family, address, length }]
    })
  }

  async apply(ops: readonly Op<Address>[]): Promise<readonly OpResult[]> {
    const verdicts = await sendOps(this.#needs, ops, ({ verb, object }, index) => {
      if (verb === 'remove') return deleteAddress(object, index)
      return writeAddress(object, index, verb === 'create' ? 'create' : 'replace')
    })
    return verdicts.map(resultOf)
  }
}
