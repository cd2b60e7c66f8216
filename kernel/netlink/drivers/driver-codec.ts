import type { MadeDriver } from '../../kinds/link/drivers/drivers.ts'
import type { AttributeTable, MessageWriter } from '../attributes.ts'

// linux/if_link.h
export const IFLA_INFO_KIND = 1
export const IFLA_INFO_DATA = 2

/** What a message says of a driver. The underlay is an index still: its name may come later in the same dump. */
export interface DriverRecord {
  readonly driver: MadeDriver
  /** Index of the device below; 0: none. */
  readonly underlayIndex: number
}

/** How the kernel is told of one driver, and tells of it: the content of IFLA_INFO_DATA. `underlayIndex` 0: no device below. */
export interface DriverCodec<D extends MadeDriver = MadeDriver> {
  /** The kernel's kind. */
  readonly type: D['type']
  /** What a new device is made with. */
  putNew(writer: MessageWriter, driver: D, underlayIndex: number): void
  /** What may change while the device lives. */
  putLive(writer: MessageWriter, driver: D, underlayIndex: number): void
  /** `info` holds the attributes inside IFLA_LINKINFO. Undefined: of the kind, but no device as we make. @throws MalformedMessage */
  read(info: AttributeTable): DriverRecord | undefined
}
