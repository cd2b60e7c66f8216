import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { run } from '../../lab/command.ts'
import { Etcd } from '../../lab/etcd.ts'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { controlPlane } from '../../lab/layout.ts'
import type { Program } from '../../lab/program.ts'
import { peerProgram } from '../needs.ts'
import { until } from './world.ts'

const token = 'admin-token'
const daemonToken = 'daemon-token'
const daemonUser = 'flannel'
const apiUrl = `https://${controlPlane.address}:6443`
/** What Services get their addresses from. */
const serviceNetwork = '10.96.0.0/16'

/** A request to the API: `['POST', '/api/v1/nodes', {...}]`. */
type Request = readonly [method: string, path: string, body: object]

/** Sends the requests one after the other, in the namespace that it runs in, and prints the answers; any but 2xx ends it. */
const sender = `
const https = require('node:https')
let text = ''
process.stdin.on('data', (chunk) => { text += chunk }).on('end', async () => {
  const { url, token, ca, requests, pauseMs = 0 } = JSON.parse(text)
  const answers = []
  const times = []
  const agent = new https.Agent({ keepAlive: true })
  for (const [method, path, body] of requests) await new Promise((resolve, reject) => {
    const sentBody = method === 'GET' ? '' : JSON.stringify(body)
    // Node.js names no length of what a DELETE has, and the server would take it for the next request of the connection.
    const headers = { authorization: 'Bearer ' + token, 'content-type': method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json', 'content-length': Buffer.byteLength(sentBody) }
    times.push(performance.timeOrigin + performance.now())
    const sent = https.request(url + path, { method, headers, ca, agent }, (response) => {
      let answer = ''
      response.setEncoding('utf8').on('data', (chunk) => { answer += chunk })
      response.on('end', () => response.statusCode < 300 ? resolve(answers.push(answer)) : reject(new Error(path + ' ' + response.statusCode + ' ' + answer)))
    })
    sent.on('error', reject).end(sentBody)
  }).then(() => pauseMs && new Promise((resolve) => setTimeout(resolve, pauseMs)))
  agent.destroy()
  process.stdout.write(JSON.stringify(pauseMs > 0 ? times : answers))
})`

/** A real API server with an etcd of its own beside the lab's; there is no kubelet and no controller: objects are what a test puts. */
export class Kubernetes {
  readonly url = apiUrl
  readonly #lab: Lab
  readonly #folder: string
  #ca = ''

  private constructor(lab: Lab) {
    this.#lab = lab
    this.#folder = join(lab.folder, 'kube')
  }

  /** Ends with the lab. */
  static async start(lab: Lab, { ms = 90_000 }: { readonly ms?: number } = {}): Promise<Kubernetes> {
    const kubernetes = new Kubernetes(lab)
    await kubernetes.#start(ms)
    return kubernetes
  }

  /** The file with the certificate of the server, its own authority. */
  get ca(): string {
    return join(this.#folder, 'cert')
  }

  /** The bodies of the answers. */
  async send(...requests: readonly Request[]): Promise<readonly string[]> {
    const input = JSON.stringify({ url: apiUrl, token, ca: this.#ca, requests })
    const { stdout } = await this.#lab.controlPlane.exec([execPath, '-e', sender], { input })
    return JSON.parse(stdout)
  }

  /** With a pause after each; when each was sent, on the clock of this process (`performance.now()`). */
  async sendPaced(requests: readonly Request[], pauseMs: number): Promise<readonly number[]> {
    const input = JSON.stringify({ url: apiUrl, token, ca: this.#ca, requests, pauseMs })
    const { stdout } = await this.#lab.controlPlane.exec([execPath, '-e', sender], { input })
    return JSON.parse(stdout).map((time: number) => time - performance.timeOrigin)
  }

  // biome-ignore lint/suspicious/noExplicitAny: the test is the judge of its shape
  async node(name: string): Promise<any> {
    const [answer] = await this.send(['GET', `/api/v1/nodes/${name}`, {}])
    return JSON.parse(answer ?? '')
  }

  /** The kubeconfig of an account that has the daemon's role and no other right. */
  async daemonKubeconfig(): Promise<string> {
    const roles = '/apis/rbac.authorization.k8s.io/v1'
    const rule = (resource: string, ...verbs: string[]) => ({ apiGroups: [''], resources: [resource], verbs })
    const rules = [rule('pods', 'get'), rule('nodes', 'get', 'list', 'watch'), rule('nodes/status', 'patch')]
    const metadata = { name: daemonUser }
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: daemonUser }
    await this.send(
      ['POST', `${roles}/clusterroles`, { metadata, rules }],
      ['POST', `${roles}/clusterrolebindings`, { metadata, roleRef, subjects: [{ kind: 'User', name: daemonUser }] }],
    )
    const path = join(this.#folder, 'daemon-kubeconfig')
    await writeFile(path, JSON.stringify(kubeconfigWith(this.#ca, daemonToken)), { mode: 0o600 })
    return path
  }

  /** The flags of a daemon with that account, for the network configuration in a file that is made here. */
  async daemonArgs(netConf: object): Promise<readonly string[]> {
    const path = this.netConf
    await writeFile(path, JSON.stringify(netConf))
    return ['--kube-subnet-mgr', `--kubeconfig-file=${await this.daemonKubeconfig()}`, `--net-config-path=${path}`]
  }

  /** Of `daemonArgs`. */
  get netConf(): string {
    return join(this.#lab.folder, 'net-conf.json')
  }

  async addNodes(): Promise<void> {
    const nodes = await Promise.all(
      this.#lab.hosts.map(async (host) => {
        const { label, address } = host
        const podCIDRs = (await host.subnetEnv()).families.map(({ subnet }) => subnet)
        const status = { addresses: [{ type: 'InternalIP', address }] }
        const node = { metadata: { name: label }, spec: { podCIDR: podCIDRs[0], podCIDRs }, status }
        return ['POST', '/api/v1/nodes', { kind: 'Node', apiVersion: 'v1', ...node }] as const
      }),
    )
    await this.send(...nodes)
  }

  /** A Service with one container behind it, on one port by TCP and UDP. */
  async addService(name: string, service: ServiceOptions): Promise<void> {
    const { clusterIp, port, nodePort, policy, endpoint, node } = service
    const metadata = { name, namespace: 'default' }
    const ports = ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port }))
    const spec = {
      type: 'NodePort',
      clusterIP: clusterIp,
      externalTrafficPolicy: policy,
      ports: ports.map((one) => ({ ...one, targetPort: port, nodePort })),
    }
    const slice = {
      kind: 'EndpointSlice',
      apiVersion: 'discovery.k8s.io/v1',
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports,
      endpoints: [{ addresses: [endpoint], nodeName: node, conditions: { ready: true } }],
    }
    await this.send(
      ['POST', '/api/v1/namespaces/default/services', { kind: 'Service', apiVersion: 'v1', metadata, spec }],
      ['POST', '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices', slice],
    )
  }

  /** kube-proxy in a host, until it is stopped; resolves when it has written its rules once. */
  async startProxy(
    host: Host,
    { mode, network, ms = 30_000 }: { mode: ProxyMode; network: string; ms?: number },
  ): Promise<Program> {
    const kubeconfig = join(this.#folder, 'kubeconfig')
    const program = await host.start(
      [
        // What it mounts, and the lock of iptables, are not for the others.
        ...['unshare', '--mount', '--propagation', 'private'],
        peerProgram('peer:kube-proxy'),
        `--kubeconfig=${kubeconfig}`,
        `--proxy-mode=${mode}`,
        `--hostname-override=${host.label}`,
        `--cluster-cidr=${network}`,
        // These belong to the machine, not to the namespace.
        '--conntrack-max-per-core=0',
        '--conntrack-tcp-timeout-established=0',
        '--conntrack-tcp-timeout-close-wait=0',
        '--healthz-bind-address=127.0.0.1:10256',
        '--metrics-bind-address=127.0.0.1:10249',
      ],
      { log: join(host.folder, 'kube-proxy.log') },
    )
    const look = {
      iptables: 'iptables-nft-save | grep KUBE-SVC-',
      nftables: 'nft list table ip kube-proxy | grep service-',
      // Its servers stay in the kernel from the last start, while its rules are written last.
      ipvs: 'grep -q "^TCP .* rr" /proc/net/ip_vs && iptables-nft-save -t nat | grep "match-set KUBE-NODE-PORT"',
    }
    await until(ms, `kube-proxy of ${host.label} has written its rules`, async () => {
      if (!program.running) throw new Error(`it ended: ${(await program.logText()).slice(-2_000)}`)
      await host.exec(['sh', '-c', look[mode]])
    })
    return program
  }

  async #start(ms: number): Promise<void> {
    const { controlPlane: namespace } = this.#lab
    const folder = this.#folder
    await mkdir(folder, { mode: 0o700 })
    const file = (name: string) => join(folder, name)
    const certificate = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=lab']
    const names = ['-addext', `subjectAltName=IP:${controlPlane.address}`]
    const certified = run(['openssl', 'req', ...certificate, ...names, '-keyout', file('key'), '-out', file('cert')])
    const etcdUrl = 'http://127.0.0.1:2389'
    const peerUrl = 'http://127.0.0.1:2390'
    const etcd = new Etcd(namespace, {
      folder: file('etcd'),
      args: [
        `--listen-client-urls=${etcdUrl},unix://client:1`,
        `--advertise-client-urls=${etcdUrl}`,
        `--listen-peer-urls=${peerUrl}`,
        `--initial-advertise-peer-urls=${peerUrl}`,
        `--initial-cluster=lab=${peerUrl}`,
      ],
    })
    const tokens = `${token},admin,1,system:masters\n${daemonToken},${daemonUser},2,\n`
    await Promise.all([etcd.start(), certified, writeFile(file('tokens.csv'), tokens)])
    this.#ca = (await run(['cat', file('cert')])).stdout
    await writeFile(file('kubeconfig'), JSON.stringify(kubeconfigWith(this.#ca, token)))
    const server = await namespace.start(
      [
        peerProgram('peer:kube-apiserver'),
        `--etcd-servers=${etcdUrl}`,
        `--service-cluster-ip-range=${serviceNetwork}`,
        '--authorization-mode=RBAC',
        `--token-auth-file=${file('tokens.csv')}`,
        `--tls-cert-file=${file('cert')}`,
        `--tls-private-key-file=${file('key')}`,
        `--service-account-key-file=${file('key')}`,
        `--service-account-signing-key-file=${file('key')}`,
        '--service-account-issuer=https://lab',
        `--advertise-address=${controlPlane.address}`,
        `--bind-address=${controlPlane.address}`,
        '--secure-port=6443',
      ],
      { log: file('apiserver.log'), cwd: folder },
    )
    await until(ms, 'the API server answers', async () => {
      if (!server.running) throw new Error(`it ended: ${(await server.logText()).slice(-2_000)}`)
      await this.send(['GET', '/readyz', {}], ['GET', '/api/v1/namespaces/default', {}])
    })
  }
}

export type ProxyMode = 'iptables' | 'nftables' | 'ipvs'

interface ServiceOptions {
  readonly clusterIp: string
  readonly port: number
  readonly nodePort: number
  readonly policy: 'Cluster' | 'Local'
  /** The container's address, and the node that it is on. */
  readonly endpoint: string
  readonly node: string
}

/** As a controller manager that allocates podCIDRs leaves it; without one as it was before. */
export function nodeObject(name: string, podCIDR?: string): object {
  return { metadata: { name }, spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] } }
}

function kubeconfigWith(ca: string, token: string): object {
  const cluster = { server: apiUrl, 'certificate-authority-data': Buffer.from(ca).toString('base64') }
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'admin' } }],
    'current-context': 'lab',
  }
}
