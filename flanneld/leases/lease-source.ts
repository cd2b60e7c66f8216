import type { Clock } from '../../lib/clock.ts'
import type { Source } from '../../lib/latest.ts'
import { type Logger, Secret } from '../../lib/log.ts'
import { EtcdClient } from '../../subnet/etcd/client.ts'
import { EtcdConfigSource } from '../../subnet/etcd/config-source.ts'
import { EtcdLeaseStore } from '../../subnet/etcd/lease-store.ts'
import type { LeaseStore, StoreHealth } from '../../subnet/types.ts'
import type { Environment, Options } from '../options/options.ts'
import type { ConditionSet } from '../status/status.ts'

/** Where configuration and leases come from: one etcd connection for both. */
export interface LeaseSource {
  readonly configSource: EtcdConfigSource
  readonly storeHealth: Source<StoreHealth>
  readonly store: LeaseStore
  /** Gives up the connection: the next use of it opens another. */
  readonly reconnectStore: (why: string) => Promise<void>
}

/** Throws ConfigError for endpoints that must not be used. */
export function openEtcd(
  needs: { clock: Clock; log: Logger; conditions: ConditionSet; random: () => number; env: Environment },
  options: Options,
): LeaseSource {
  const client = new EtcdClient(needs, {
    endpoints: options.etcdEndpoints,
    caFile: options.etcdCafile ?? '',
    certFile: options.etcdCertfile ?? '',
    keyFile: options.etcdKeyfile ?? '',
    username: options.etcdUsername,
    password: options.etcdPassword ?? new Secret(''),
    requireTls: options.etcdRequireTls,
    authorities: { file: needs.env['SSL_CERT_FILE'] ?? '', directories: needs.env['SSL_CERT_DIR'] ?? '' },
  })
  for (const text of client.warnings) {
    const remedy = 'give etcd a certificate and use https endpoints with --etcd-cafile'
    needs.conditions.set({ code: 'etcd-in-clear', severity: 'info', text, remedy })
  }
  const prefix = options.etcdPrefix
  return {
    configSource: new EtcdConfigSource({ ...needs, client }, { prefix }),
    storeHealth: client.health.source,
    reconnectStore: (why) => client.giveUp(why),
    store: new EtcdLeaseStore({ ...needs, client }, { prefix }),
  }
}
