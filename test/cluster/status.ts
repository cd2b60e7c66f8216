import type { Cluster } from '../../lab/cluster/cluster.ts'

interface Status {
  readonly startedAt: string
  /** Null: not chosen yet. */
  readonly external: { readonly interface: string } | null
  /** Null: it does not change. */
  readonly backendChange: object | null
  readonly notReady: readonly string[]
  readonly conditions: readonly { readonly code: string; readonly text: string }[]
  readonly counters: { readonly driftRepaired: Readonly<Record<string, number>> }
}

/** What `flanneld status -o json` prints in each pod of our daemon set. */
export async function statuses(cluster: Cluster): Promise<readonly Status[]> {
  return (await inEachDaemon(cluster, 'status', '-o', 'json')).map((text) => JSON.parse(text))
}

/** Text of the condition, of every daemon; undefined where it has none. */
export async function conditionTexts(cluster: Cluster, code: string): Promise<readonly (string | undefined)[]> {
  return (await statuses(cluster)).map(({ conditions }) => conditions.find((one) => one.code === code)?.text)
}

/** What the command prints in each pod of our daemon set. */
export async function inEachDaemon(cluster: Cluster, ...command: readonly string[]): Promise<readonly string[]> {
  const pods = await cluster.list('/api/v1/namespaces/kube-flannel/pods?labelSelector=app%3Dflannel')
  return await Promise.all(
    pods.map(async ({ metadata }) => {
      const exec = ['-n', 'kube-flannel', 'exec', metadata.name, '-c', 'kube-flannel', '--', '/opt/bin/flanneld']
      return (await cluster.kubectl([...exec, ...command], { anyCode: true })).stdout
    }),
  )
}
