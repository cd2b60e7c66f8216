import type { NetlinkChannel } from './channel.ts'
import { dumpLinks, getLink, type LinkRecord, parseLink } from './link-messages.ts'

/** Which number the kernel gave to which device. Filled by link dumps and by the monitor; read again when a name is unknown. */
export class DeviceIndex {
  readonly #channel: NetlinkChannel
  #indexes = new Map<string, number>()
  #names = new Map<number, string>()
  /** Names of devices that this program is making: until one is up, the kernel tells of nothing but that, and not as of our doing. */
  readonly inMaking = new Set<string>()

  constructor(needs: { channel: NetlinkChannel }) {
    this.#channel = needs.channel
  }

  indexOf(name: string): number | undefined {
    return this.#indexes.get(name)
  }

  /** Of a deleted device the last name, until the next refresh: events about what hung on it may come late. */
  nameOf(index: number): string | undefined {
    return this.#names.get(index)
  }

  set(record: { readonly index: number; readonly name: string }): void {
    const before = this.#names.get(record.index)
    if (before !== undefined && this.#indexes.get(before) === record.index) this.#indexes.delete(before)
    this.#names.set(record.index, record.name)
    this.#indexes.set(record.name, record.index)
  }

  delete(index: number): void {
    const name = this.#names.get(index)
    if (name !== undefined && this.#indexes.get(name) === index) this.#indexes.delete(name)
  }

  /** Reads all devices. @throws OpFailure */
  async refresh(): Promise<LinkRecord[]> {
    const records = await this.#channel.dump(dumpLinks(), parseLink)
    this.#indexes = new Map(records.map((record) => [record.name, record.index]))
    this.#names = new Map(records.map((record) => [record.index, record.name]))
    return records
  }

  /** Reads one device; undefined when there is none of that name. */
  async look(name: string): Promise<LinkRecord | undefined> {
    let found: LinkRecord | undefined
    await this.#channel.request([getLink(name)], (_index, message) => {
      found = parseLink(message)
    })
    if (found !== undefined) this.set(found)
    else this.#indexes.delete(name)
    return found
  }
}
