import type { IpAddr } from '../../lib/address.ts'

/** What container runtimes and plugins of this host have on their disks, as it was read. Plain values. */
export interface CniFacts {
  /** Network configurations in the directory of the conflist, in the order in which runtimes look at them; undefined text: unreadable. */
  readonly configs: readonly { readonly name: string; readonly text: string | undefined }[]
  /** By name: why a plugin that is needed cannot be run. */
  readonly plugins: ReadonlyMap<string, string>
  readonly bridge: BridgeFacts | undefined
  readonly reservations: readonly Reservation[]
  /** What could not be read, with the system's reason. */
  readonly unreadable: readonly { readonly path: string; readonly code: string; readonly message: string }[]
}

/** An address that host-local has handed out and not been given back. */
export interface Reservation {
  /** Of the store. */
  readonly network: string
  readonly address: IpAddr
  /** As the runtime names it, from the file: anything. */
  readonly container: string
}

export interface BridgeFacts {
  readonly name: string
  /** In the kernel's order. */
  readonly addresses: readonly { readonly address: IpAddr; readonly length: number }[]
  /** Containers that hang on it. */
  readonly ports: number
}
