import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Json } from '../../lab/cluster/api.ts'
import { Cluster, type ClusterOptions } from '../../lab/cluster/cluster.ts'
import type { Pod } from '../../lab/cluster/pod.ts'
import { programsFrom } from '../../lab/cluster/programs.ts'
import { busyboxImage } from '../../lab/cluster/test-images.ts'
import type { Namespace } from '../../lab/namespace.ts'
import type { Program } from '../../lab/program.ts'
import type { Capability } from '../needs.ts'
import { until } from '../until.ts'
import { flannelImages, ourImage } from './images.ts'

export const programs: readonly Capability[] = [
  'cluster',
  'etcd',
  'peer:kube-apiserver',
  'peer:kube-controller-manager',
  'peer:kube-scheduler',
  'peer:kubelet',
  'peer:kube-proxy',
  'peer:kubectl',
  // Its plugin is what the conflist of flannel's manifest names.
  'peer:flannel-cni',
  'peer:flanneld',
]

let shared: Promise<Cluster> | undefined

/** One cluster for all files: n1 and n2, with our image and flannel's. Each file begins with the objects that it needs, and removes what it adds to them. */
export async function sharedCluster(): Promise<Cluster> {
  shared ??= create({})
  return await shared
}

/** Another one, to be closed by whoever asks for it. The shared one ends before: of two at once each would be slow. */
export async function newCluster(options: Omit<ClusterOptions, 'programs' | 'images'> = {}): Promise<Cluster> {
  await endShared()
  return await create(options)
}

async function create(options: Omit<ClusterOptions, 'programs' | 'images'>): Promise<Cluster> {
  // In the lab's folder they go with it, also when this process is killed: the next lab sweeps it.
  const images = async (folder: string) => [await ourImage(folder), ...(await flannelImages(folder))]
  return await Cluster.create({ programs: await programsFrom(process.env), images, ...options })
}

async function endShared(): Promise<void> {
  const ending = shared
  shared = undefined
  await (await ending?.catch(() => undefined))?.close()
}

after(async function () {
  this.timeout(60_000)
  await endShared()
})

/** Applies the objects and waits until the daemon set runs on every node and the nodes are Ready. */
export async function install(cluster: Cluster, objects: readonly (string | object)[]): Promise<void> {
  await cluster.apply(...objects)
  await rolledOut(cluster)
  await nodesReady(cluster)
}

/** As `install`, where daemons run already that would go on with what they have: they end first. */
export async function reinstall(cluster: Cluster, objects: readonly (string | object)[]): Promise<void> {
  const daemons = ['daemonset', 'kube-flannel-ds', '--ignore-not-found', '--wait', '--timeout=60s']
  await cluster.kubectl(['-n', 'kube-flannel', 'delete', ...daemons])
  await install(cluster, objects)
}

export async function rolledOut(cluster: Cluster, namespace = 'kube-flannel'): Promise<void> {
  await cluster.kubectl(['-n', namespace, 'rollout', 'status', 'daemonset/kube-flannel-ds', '--timeout=180s'], {
    timeout: 190_000,
  })
}

export async function nodesReady(cluster: Cluster): Promise<void> {
  await until(60_000, 'all nodes are Ready', async () => {
    for (const { metadata, status } of await cluster.list('/api/v1/nodes')) {
      const condition = (type: string) => status.conditions.find((one: Json) => one.type === type)?.status
      assert.deepEqual([condition('Ready'), condition('NetworkUnavailable')], ['True', 'False'], metadata.name)
    }
  })
}

export interface PodSpec {
  readonly name: string
  readonly node: string
  readonly labels?: Readonly<Record<string, string>>
  readonly hostPort?: number
}

// Says who asks, and who answers: `[::ffff:10.244.0.5] a`.
const answer = [
  'mkdir -p /tmp/cgi-bin',
  "printf '#!/bin/sh\\necho; echo $REMOTE_ADDR $HOSTNAME\\n' >/tmp/cgi-bin/who",
  'chmod +x /tmp/cgi-bin/who',
  'exec httpd -f -p 80 -h /tmp',
].join('\n')

export function podObject({ name, node, labels = {}, hostPort }: PodSpec): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name, ...labels } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: busyboxImage,
          args: ['-c', answer],
          ports: [{ containerPort: 80, ...(hostPort === undefined ? {} : { hostPort }) }],
        },
      ],
    },
  }
}

/** Pods that answer on port 80 with the address that asks and their own name. */
export async function startPods(cluster: Cluster, specs: readonly PodSpec[]): Promise<readonly Pod[]> {
  const names = specs.map(({ name }) => `pod/${name}`)
  const before = await cluster.list('/api/v1/namespaces/default/pods')
  const ending = before.filter(({ metadata }) => metadata.deletionTimestamp !== undefined)
  const inTheWay = ending.map(({ metadata }) => `pod/${metadata.name}`).filter((name) => names.includes(name))
  if (inTheWay.length > 0) await cluster.kubectl(['wait', '--for=delete', '--timeout=60s', ...inTheWay])
  await cluster.apply(...specs.map(podObject))
  await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=90s', ...names])
  return await Promise.all(specs.map(({ name }) => cluster.pod(name)))
}

export async function deletePods(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', 'pods,services', '--selector', 'app', '--wait', '--timeout=60s'])
}

/** At the end of a file, after which nobody looks whether they are gone. */
export async function dropPods(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', 'pods,services', '--selector', 'app', '--wait=false'])
}

/** The same outside of the cluster; there the name is `outside`. */
export async function answering(where: Namespace, folder: string, port: number): Promise<Program> {
  const script = join(folder, 'www/cgi-bin/who')
  await mkdir(dirname(script), { recursive: true })
  await writeFile(script, '#!/bin/sh\necho; echo $REMOTE_ADDR outside\n', { mode: 0o755 })
  return await where.start(['busybox', 'httpd', '-f', '-p', String(port), '-h', join(folder, 'www')], {
    log: join(folder, 'www.log'),
  })
}

/** Who asked and who answered, as the pod behind the address says; undefined without an answer within two seconds. */
export async function ask(
  from: Namespace,
  address: string,
  port = 80,
): Promise<{ client: string; pod: string } | undefined> {
  const { stdout } = await from.exec(['busybox', 'nc', '-w', '2', address, String(port)], {
    anyCode: true,
    input: 'GET /cgi-bin/who HTTP/1.0\r\n\r\n',
  })
  const [client = '', pod = ''] = stdout.trimEnd().split('\n').at(-1)?.split(' ') ?? []
  return pod === '' ? undefined : { client: client.replace(/^\[(::ffff:)?|\]$/g, ''), pod }
}

/** The end of what daemons and nodes said, printed when a test has failed. */
export async function logsInFailure(error: Error | undefined, cluster: Cluster | undefined): Promise<void> {
  if (error === undefined || cluster === undefined) return
  const show = async (...args: string[]) => (await cluster.kubectl(args, { anyCode: true })).stdout
  const pods = await show('get', 'pods', '-A', '-o', 'wide')
  const daemons = await show('-n', 'kube-flannel', 'logs', '--selector', 'app=flannel', '--tail=15', '--prefix')
  process.stderr.write(`${pods}\n${daemons}\n`)
}
