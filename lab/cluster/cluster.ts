import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { IpAddr } from '../../lib/address.ts'
import { systemClock } from '../../lib/clock.ts'
import type { Outcome } from '../command.ts'
import { Lab } from '../lab.ts'
import type { SegmentOptions } from '../layout.ts'
import { Api, type Json } from './api.ts'
import { ControlPlane } from './control-plane.ts'
import { ClusterNode } from './node.ts'
import { Pod } from './pod.ts'
import type { ClusterPrograms } from './programs.ts'
import { buildPause, buildTestImages } from './test-images.ts'

export interface ClusterOptions {
  readonly programs: ClusterPrograms
  /** n1 and n2 on one segment unless told. */
  readonly segments?: readonly SegmentOptions[]
  /** Pods' network, comma list for two families; 10.244.0.0/16 unless told. */
  readonly podRange?: string
  readonly serviceRange?: string
  readonly proxyMode?: 'iptables' | 'nftables'
  /** Which of its interfaces Kubernetes knows a node by, where it has several; the first one, eth0, unless told. */
  readonly nodeNic?: number
  /** Writes docker archives for every node into the lab's folder, beside the lab's own pause and busybox; returns their paths. */
  readonly images?: (folder: string) => Promise<readonly string[]>
}

/** Hosts n1, n2, ... on one L2 segment. */
export function oneSegment(nodes: number): readonly SegmentOptions[] {
  return [{ name: 'lan1', subnet: '192.168.64.0/24', hosts: Array.from({ length: nodes }, (_, n) => `n${n + 1}`) }]
}

/** The same with an address of each family. */
export function dualStackSegment(nodes: number): readonly SegmentOptions[] {
  return oneSegment(nodes).map((segment) => ({ ...segment, subnet6: 'fd00:64::/64' }))
}

/** A real Kubernetes cluster of lab hosts: etcd, API server, controller manager, scheduler, and nodes that run pods. */
export class Cluster {
  readonly lab: Lab
  readonly nodes: readonly ClusterNode[]
  readonly api: Api
  readonly #programs: ClusterPrograms
  readonly #control: ControlPlane
  readonly #images: Promise<readonly string[]>

  private constructor(lab: Lab, options: ClusterOptions, images: Promise<readonly string[]>, pause: string) {
    this.lab = lab
    this.#images = images
    this.#programs = options.programs
    const podRange = options.podRange ?? '10.244.0.0/16'
    const ranges = { pods: podRange, services: options.serviceRange ?? '10.96.0.0/16' }
    this.#control = new ControlPlane({ lab, programs: options.programs }, ranges)
    this.api = new Api(join(lab.folder, 'api.sock'))
    const { router } = lab
    const kubeconfig = (user: string) => this.#control.kubeconfig(user)
    this.nodes = lab.hosts.map(
      (host) =>
        new ClusterNode(
          { host, router, programs: options.programs, pause, kubeconfig },
          { proxyMode: options.proxyMode ?? 'iptables', podRange, images, nic: options.nodeNic ?? 0 },
        ),
    )
  }

  /** Resolves when all nodes are registered; without a network none is Ready. Throws as `Lab.create` does, and leaves nothing behind. */
  static async create(options: ClusterOptions): Promise<Cluster> {
    const lab = await Lab.create({ segments: options.segments ?? oneSegment(2) })
    try {
      const pause = await buildPause(lab.folder)
      const images = Promise.all([buildTestImages(lab.folder, pause), options.images?.(lab.folder) ?? []])
      const cluster = new Cluster(
        lab,
        options,
        images.then((lists) => lists.flat()),
        pause,
      )
      await cluster.#start()
      return cluster
    } catch (cause) {
      await lab.close()
      throw cause
    }
  }

  node(name: string): ClusterNode {
    const found = this.nodes.find((node) => node.label === name)
    if (found === undefined) throw new Error(`the cluster has no node ${name}`)
    return found
  }

  /** kubectl as the cluster's administrator; throws CommandError unless `anyCode`. */
  async kubectl(
    args: readonly string[],
    options: { input?: string; anyCode?: boolean; timeout?: number } = {},
  ): Promise<Outcome> {
    return await this.lab.controlPlane.exec([...this.#kubectl('admin'), ...args], { timeout: 120_000, ...options })
  }

  async apply(...objects: readonly (string | object)[]): Promise<string> {
    const text = objects.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n---\n')
    return (await this.kubectl(['apply', '-f', '-'], { input: text })).stdout
  }

  /** The running pod of that name, with its network. */
  async pod(name: string, namespace = 'default'): Promise<Pod> {
    const { metadata, spec, status } = await this.api.get(`/api/v1/namespaces/${namespace}/pods/${name}`)
    const pid = await this.node(spec.nodeName).processOfPod(metadata.uid)
    const addresses = (status.podIPs ?? []).map(({ ip }: { ip: IpAddr }) => ip)
    return new Pod(
      { labId: this.lab.id, signal: this.nodes[0]?.signal ?? AbortSignal.abort() },
      { name, uid: metadata.uid, pid, addresses },
    )
  }

  /** Objects of a list: `list('/api/v1/nodes')`. */
  async list(path: string): Promise<readonly Json[]> {
    return (await this.api.get(path)).items
  }

  async close(): Promise<void> {
    await this.lab.close()
  }

  async #start(): Promise<void> {
    const control = this.#control.start(this.nodes.map(({ label }) => label))
    // Images are written and imported while the API server starts.
    await Promise.all([control, this.#images, ...this.nodes.map((node) => node.boot(control))])
    const socket = join(this.lab.folder, 'api.sock')
    await this.lab.controlPlane.start([...this.#kubectl('admin'), 'proxy', `--unix-socket=${socket}`], {
      log: join(this.lab.folder, 'proxy.log'),
    })
    const deadline = systemClock.now() + 60_000
    for (;;) {
      const there = await access(socket)
        .then(() => this.list('/api/v1/nodes'))
        .catch(() => [])
      if (there.length === this.nodes.length) return
      if (systemClock.now() > deadline)
        throw new Error(
          `nodes did not register:\n${(await Promise.all(this.nodes.map((node) => node.logs()))).join('\n')}`,
        )
      await systemClock.sleep(100, this.nodes[0]?.signal ?? AbortSignal.timeout(1_000))
    }
  }

  #kubectl(user: string): readonly string[] {
    const cache = join(this.lab.folder, 'kubectl-cache')
    return [this.#programs.kubectl, `--kubeconfig=${this.#control.kubeconfig(user)}`, `--cache-dir=${cache}`]
  }
}
