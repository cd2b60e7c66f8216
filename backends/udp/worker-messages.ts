import type { MessagePort } from 'node:worker_threads'

/** What a worker is started with. */
export interface WorkerStart {
  /** Name of the tun. */
  readonly device: string
  /** The socket's address, network byte order. */
  readonly local: Uint8Array
  /** UDP port of this node and of every peer. */
  readonly port: number
  /** Buffer of a ProxyMemory. */
  readonly shared: SharedArrayBuffer
  /** Brings `WorkerMessage`s. */
  readonly messages: MessagePort
  /** Of `buildPeerTable`; the worker begins with it. */
  readonly table: SharedArrayBuffer
}

/** To the worker; after each the doorbell is rung (`Control.doorbell` and `Control.eventFd`). */
export type WorkerMessage = { readonly type: 'table'; readonly table: SharedArrayBuffer } | { readonly type: 'stop' }

/** From the worker, once both descriptors are open. What the kernel does not offer is done without. */
export interface WorkerReady {
  readonly type: 'ready'
  readonly offloads: Offloads
}

export interface Offloads {
  /** The tun gives and takes TCP trains. */
  readonly tunTcp: boolean
  /** The tun gives UDP trains. */
  readonly tunUdp: boolean
  /** UDP_SEGMENT. */
  readonly segmentation: boolean
  /** UDP_GRO. */
  readonly coalescing: boolean
}

/** From the worker, before it ends: what could not be opened, as a negative errno. */
export interface WorkerFailed {
  readonly type: 'failed'
  readonly what: 'tun' | 'socket' | 'event'
  readonly errno: number
}
