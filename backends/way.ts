import type { Family } from '../lib/address.ts'
import type { PeerPath } from '../subnet/types.ts'
import type { WayDevices } from './backend.ts'
import type { AnyBackend } from './registry.ts'

/** One way in which this node can send and receive now. */
export interface Way {
  readonly backend: AnyBackend
  /** Parsed by the backend. */
  readonly config: unknown
  /** What makes this node recognisable to peers by this way (MAC, key). */
  readonly identity: unknown
  /** What peers are told of it: of these families. */
  readonly path: PeerPath
  readonly devices: WayDevices
  /** Of the enabled ones those that it is prepared for. */
  readonly families: readonly Family[]
}

/** UDP ports at which the ways receive, as far as they are not flannel's by default. Pure. */
export function ownPorts(ways: readonly Way[]): readonly number[] {
  return ways.flatMap(({ path }) => path.port ?? [])
}
