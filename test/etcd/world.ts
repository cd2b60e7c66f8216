import { setMaxListeners } from 'node:events'
import { systemClock } from '../../lib/clock.ts'
import { type Logger, Secret, silentLogger } from '../../lib/log.ts'
import { EtcdClient } from '../../subnet/etcd/client.ts'
import type { EtcdAccess } from '../../subnet/etcd/endpoints.ts'
import { EtcdLeaseStore, type EtcdLeaseStoreOptions } from '../../subnet/etcd/lease-store.ts'

export const prefix = '/coreos.com/network'
export const folder = `${prefix}/subnets/`

export function access(endpoints: readonly string[], more: Partial<EtcdAccess> = {}): EtcdAccess {
  const none = {
    caFile: '',
    certFile: '',
    keyFile: '',
    username: '',
    password: new Secret(''),
    requireTls: false,
    authorities: { file: '', directories: '' },
  }
  return { endpoints, ...none, ...more }
}

/** Clients and running stores of a test, all ended by `close`. */
export class Daemons {
  readonly #stop = new AbortController()
  readonly #running: Promise<void>[] = []
  readonly #clients: EtcdClient[] = []

  constructor() {
    setMaxListeners(0, this.#stop.signal)
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  client(how: EtcdAccess, log: Logger = silentLogger): EtcdClient {
    const client = new EtcdClient({ clock: systemClock, log }, how)
    this.#clients.push(client)
    return client
  }

  store(client: EtcdClient, options: Partial<EtcdLeaseStoreOptions> = {}, log: Logger = silentLogger): EtcdLeaseStore {
    const needs = { client, clock: systemClock, log, random: Math.random }
    const store = new EtcdLeaseStore(needs, { prefix, ...options })
    this.#running.push(store.run(this.signal))
    return store
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the test is over'))
    await Promise.all(this.#running)
    await Promise.all(this.#clients.map((client) => client.close()))
  }
}
