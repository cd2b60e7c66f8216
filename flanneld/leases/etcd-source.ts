import { Secret } from '../../lib/log.ts'
import { EtcdClient } from '../../subnet/etcd/client.ts'
import { EtcdConfigSource } from '../../subnet/etcd/config-source.ts'
import type { EtcdAccess } from '../../subnet/etcd/endpoints.ts'
import { EtcdLeaseStore } from '../../subnet/etcd/lease-store.ts'
import type { Environment, Options } from '../options/options.ts'
import type { LeaseSource, SourceNeeds } from './lease-source.ts'

/** Configuration and leases by one connection to etcd. @throws ConfigError for endpoints that must not be used */
export function openEtcd(needs: SourceNeeds, options: Options): LeaseSource {
  const client = new EtcdClient(needs, etcdAccess(options, needs.env))
  for (const text of client.warnings) {
    const remedy = 'give etcd a certificate and use https endpoints with --etcd-cafile'
    needs.conditions.set({ code: 'etcd-in-clear', severity: 'info', text, remedy })
  }
  const prefix = options.etcdPrefix
  return {
    endpoints: options.etcdEndpoints,
    identity: { kind: 'etcd', prefix, marks: options.etcdEndpoints.map((endpoint) => endpoint.replace(/\/+$/, '')) },
    configSource: new EtcdConfigSource({ ...needs, client }, { prefix }),
    storeHealth: client.health.source,
    reconnectStore: (why) => client.giveUp(why),
    store: new EtcdLeaseStore({ ...needs, client }, { prefix }),
  }
}

export function etcdAccess(options: Options, env: Environment): EtcdAccess {
  return {
    endpoints: options.etcdEndpoints,
    caFile: options.etcdCafile ?? '',
    certFile: options.etcdCertfile ?? '',
    keyFile: options.etcdKeyfile ?? '',
    username: options.etcdUsername,
    password: options.etcdPassword ?? new Secret(''),
    requireTls: options.etcdRequireTls,
    authorities: { file: env['SSL_CERT_FILE'] ?? '', directories: env['SSL_CERT_DIR'] ?? '' },
  }
}
