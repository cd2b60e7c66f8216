import type { Options } from '../options/options.ts'
import { openEtcd } from './etcd-source.ts'
import type { LeaseSource, SourceNeeds } from './lease-source.ts'

/** Throws ConfigError for endpoints, or a kubeconfig, that must not be used. */
export async function openLeases(needs: SourceNeeds, options: Options, nodeId: string): Promise<LeaseSource> {
  if (!options.kubeSubnetMgr) return openEtcd(needs, options)
  // With etcd nothing of it is loaded.
  const { openKube } = await import('./kube-source.ts')
  return await openKube(needs, options, nodeId)
}
