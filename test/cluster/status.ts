import type { Cluster } from '../../lab/cluster/cluster.ts'

interface Status {
  /** Null: it does not change. */
  readonly backendChange: object | null
  readonly notReady: readonly string[]
  readonly conditions: readonly { readonly code: string; readonly text: string }[]
}

/** What `flanneld status -o json` prints in each pod of our daemon set. */
export async function statuses(cluster: Cluster): Promise<readonly Status[]> {
  const pods = await cluster.list('/api/v1/namespaces/kube-flannel/pods?labelSelector=app%3Dflannel')
  return await Promise.all(
    pods.map(async ({ metadata }) => {
      const command = ['/opt/bin/flanneld', 'status', '-o', 'json']
      const { stdout } = await cluster.kubectl(
        ['-n', 'kube-flannel', 'exec', metadata.name, '-c', 'kube-flannel', '--', ...command],
        { anyCode: true },
      )
      return JSON.parse(stdout)
    }),
  )
}
