import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { Program } from '../../lab/program.ts'
import { Kubernetes } from '../e2e/kubernetes-world.ts'
import type { SimulatedNode } from '../subnet/kube/api-simulator.ts'
import type { Side } from './measurement.ts'
import { foreignSubnet, resetHost } from './one-host.ts'

const NODES = '/api/v1/nodes'
const ANNOTATIONS = 'flannel.alpha.coreos.com'
/** Of the host itself, beyond all that a measurement puts. */
export const OWN_SUBNET = '10.200.0.0/24'

/** A lab with one host, a real API server, and a number of Nodes of flannel that do not exist. */
export class OneNode {
  readonly lab: Lab
  readonly host: Host
  readonly #kubernetes: Kubernetes
  readonly #args: readonly string[]

  private constructor(lab: Lab, kubernetes: Kubernetes, args: readonly string[]) {
    this.lab = lab
    this.host = lab.host('h1')
    this.#kubernetes = kubernetes
    this.#args = args
  }

  static async create(count: number): Promise<OneNode> {
    const lab = await Lab.create({
      segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts: ['h1'] }],
      etcd: false,
    })
    const kubernetes = await Kubernetes.start(lab)
    const netConf = join(lab.folder, 'net-conf.json')
    await writeFile(netConf, '{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}')
    const kubeconfig = await kubernetes.daemonKubeconfig()
    // On a Node without any annotation flannel ends.
    const own = {
      metadata: { name: 'h1', annotations: { bench: 'yes' } },
      spec: { podCIDR: OWN_SUBNET, podCIDRs: [OWN_SUBNET] },
    }
    await kubernetes.send(['POST', NODES, own])
    for (let from = 0; from < count; from += 500) {
      const some = Array.from({ length: Math.min(500, count - from) }, (_unused, n) => foreignNode(from + n))
      await kubernetes.send(...some.map((node) => ['POST', NODES, node] as const))
    }
    const args = ['--kube-subnet-mgr', `--kubeconfig-file=${kubeconfig}`, `--net-config-path=${netConf}`]
    return new OneNode(lab, kubernetes, args)
  }

  /** When the request was sent, on the clock of `performance`; the Nodes come one after the other. */
  async put(indexes: readonly number[], pauseMs: number): Promise<readonly number[]> {
    return await this.#kubernetes.sendPaced(
      indexes.map((index) => ['POST', NODES, foreignNode(index)] as const),
      pauseMs,
    )
  }

  async start({ daemon }: Side): Promise<Program> {
    return await this.host.startDaemon({ ...daemon, args: this.#args, env: { NODE_NAME: 'h1' } })
  }

  /** Ends the daemon and makes the host one that never had any. */
  async reset(): Promise<void> {
    const { host } = this
    await resetHost(host)
    const names = ['backend-data', 'backend-type', 'kube-subnet-manager', 'public-ip', 'node-id']
    const annotations = Object.fromEntries(names.map((name) => [`${ANNOTATIONS}/${name}`, null]))
    await this.#kubernetes.send(['PATCH', `${NODES}/h1`, { metadata: { annotations } }])
    // What the last daemon left to do to kernel and disk must not be the next one's.
    await delay(500)
  }
}

/** A Node of flannel's vxlan, number `index`. */
export function foreignNode(index: number): SimulatedNode {
  const { subnet, publicIp } = foreignSubnet(index)
  const mac = [2, 0, 0, 1, index >> 8, index & 255].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
  const annotations = {
    [`${ANNOTATIONS}/kube-subnet-manager`]: 'true',
    [`${ANNOTATIONS}/backend-type`]: 'vxlan',
    [`${ANNOTATIONS}/backend-data`]: `{"VNI":1,"VtepMAC":"${mac}"}`,
    [`${ANNOTATIONS}/public-ip`]: publicIp,
  }
  return { metadata: { name: `n${index}`, annotations }, spec: { podCIDR: subnet, podCIDRs: [subnet] } }
}
