import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { systemClock, withDeadline } from '../../lib/clock.ts'
import { developmentImage } from '../../scripts/image/manifest.ts'
import { writeOurImage } from '../../scripts/image/our-image.ts'
import { run } from '../command.ts'
import type { Terminal } from '../terminal.ts'
import { heading, indented, verdictMark } from '../terminal.ts'
import { Cluster } from './cluster.ts'
import type { Pod } from './pod.ts'
import { programsFrom } from './programs.ts'
import { busyboxImage } from './test-images.ts'

const root = join(import.meta.dirname, '../..')
const daemonSet = ['-n', 'kube-flannel', 'rollout']

/** A real cluster: the manifest is applied, pods ping each other, a rolling restart loses nothing. True when all of that is so. */
export async function kubernetesDemo(
  terminal: Terminal,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<boolean> {
  const programs = await programsFrom(environment)
  await run([execPath, join(root, 'scripts/ensure.mjs'), 'cluster'], { timeout: 600_000 })
  const began = systemClock.now()
  const cluster = await Cluster.create({ programs })
  try {
    heading(
      terminal,
      `etcd, API server, controller manager, scheduler and two nodes, registered after ${seconds(began)} s`,
    )
    indented(
      terminal,
      await lines(
        cluster,
        'get',
        'nodes',
        '-o',
        columns('NODE:.metadata.name,ADDRESS:.status.addresses[0].address,PODCIDR:.spec.podCIDR'),
      ),
    )
    terminal.signal.throwIfAborted()
    await giveImage(terminal, cluster)
    await applyManifest(terminal, cluster)
    terminal.signal.throwIfAborted()
    const pods = await startPods(terminal, cluster)
    const reached = await pingEachOther(terminal, pods)
    terminal.signal.throwIfAborted()
    const good = (await restart(terminal, cluster, pods)) && reached
    heading(terminal, good ? 'Pods reached each other throughout.' : 'Not everything went as it should.')
    return good
  } finally {
    await cluster.close()
  }
}

async function giveImage(terminal: Terminal, cluster: Cluster): Promise<void> {
  const file = join(cluster.lab.folder, 'flanneld.tar')
  const { layers } = await writeOurImage(file, { root, name: developmentImage })
  await Promise.all(cluster.nodes.map((node) => node.importImage(file)))
  heading(terminal, `npm run image, imported on both nodes: ${developmentImage}`)
  indented(
    terminal,
    layers.map(({ name, bytes }) => `${name.padEnd(12)}${(bytes / 1_000_000).toFixed(1).padStart(6)} MB`),
  )
}

async function applyManifest(terminal: Terminal, cluster: Cluster): Promise<void> {
  const began = systemClock.now()
  const said = await cluster.apply(await readFile(join(root, 'kube-flannel.yml'), 'utf8'))
  heading(terminal, 'kubectl apply -f kube-flannel.yml')
  indented(terminal, said.trimEnd().split('\n'))
  await cluster.kubectl(['wait', '--for=condition=Ready', 'nodes', '--all', '--timeout=120s'])
  const ready = seconds(began)
  await cluster.kubectl([...daemonSet, 'status', 'daemonset/kube-flannel-ds', '--timeout=120s'])
  heading(terminal, `Nodes Ready ${ready} s after it, the daemon set after ${seconds(began)} s`)
  indented(terminal, await lines(cluster, '-n', 'kube-flannel', 'get', 'pods', '-o', 'wide'))
}

async function startPods(terminal: Terminal, cluster: Cluster): Promise<readonly [Pod, Pod]> {
  const pod = (name: string, nodeName: string) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      nodeName,
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: busyboxImage, args: ['-c', 'exec sleep 86400'] }],
    },
  })
  await cluster.apply(pod('a', 'n1'), pod('b', 'n2'))
  await cluster.kubectl(['wait', '--for=condition=Ready', 'pod/a', 'pod/b', '--timeout=120s'])
  heading(terminal, 'A pod on each node')
  indented(
    terminal,
    await lines(cluster, 'get', 'pods', '-o', columns('POD:.metadata.name,NODE:.spec.nodeName,ADDRESS:.status.podIP')),
  )
  return [await cluster.pod('a'), await cluster.pod('b')]
}

async function pingEachOther(terminal: Terminal, [a, b]: readonly [Pod, Pod]): Promise<boolean> {
  heading(terminal, 'They ping each other')
  let good = true
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const { sent, received, rttMs } = await from.ping(to.address, { count: 5 })
    good &&= received === sent
    const trip = rttMs === undefined ? '' : `, ${rttMs.avg.toFixed(2)} ms`
    indented(terminal, [
      `${from.name} -> ${to.name}: ${received} of ${sent} answered${trip}  ${verdictMark(terminal, received === sent)}`,
    ])
  }
  return good
}

async function restart(terminal: Terminal, cluster: Cluster, [a, b]: readonly [Pod, Pod]): Promise<boolean> {
  heading(terminal, 'kubectl rollout restart, under two hundred pings a second')
  const began = systemClock.now()
  const judges = [a.startPing(b.address, 10), b.startPing(a.address, 10)]
  try {
    await Promise.all(judges.map((judge) => withDeadline(10_000, terminal.signal, (soon) => judge.answered(soon))))
    await cluster.kubectl([...daemonSet, 'restart', 'daemonset/kube-flannel-ds'])
    await cluster.kubectl([...daemonSet, 'status', 'daemonset/kube-flannel-ds', '--timeout=120s'])
  } finally {
    await Promise.all(judges.map((judge) => judge.stop().catch(() => undefined)))
  }
  const verdicts = judges.map((judge) => judge.verdict())
  const sent = verdicts.reduce((sum, verdict) => sum + verdict.sent, 0)
  const lost = verdicts.reduce((sum, verdict) => sum + verdict.lost, 0)
  indented(terminal, [`${sent} packets in ${seconds(began)} s, ${lost} lost  ${verdictMark(terminal, lost === 0)}`])
  return lost === 0
}

async function lines(cluster: Cluster, ...args: string[]): Promise<readonly string[]> {
  return (await cluster.kubectl(args)).stdout.trimEnd().split('\n')
}

function columns(list: string): string {
  return `custom-columns=${list}`
}

function seconds(since: number): string {
  return ((systemClock.now() - since) / 1000).toFixed(1)
}
