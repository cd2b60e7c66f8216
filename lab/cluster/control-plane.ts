import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../lib/clock.ts'
import { run } from '../command.ts'
import type { Lab } from '../lab.ts'
import { controlPlane as place } from '../layout.ts'
import { kubeconfig } from './node-files.ts'
import type { ClusterPrograms } from './programs.ts'

export interface Ranges {
  /** Pods' network, one per family, comma list: kube-controller-manager's --cluster-cidr. */
  readonly pods: string
  readonly services: string
}

/** API server, controller manager and scheduler in the lab's control plane namespace, beside its etcd. */
export class ControlPlane {
  readonly #lab: Lab
  readonly #programs: ClusterPrograms
  readonly #ranges: Ranges
  readonly #folder: string

  constructor(needs: { lab: Lab; programs: ClusterPrograms }, ranges: Ranges) {
    this.#lab = needs.lab
    this.#programs = needs.programs
    this.#ranges = ranges
    this.#folder = join(needs.lab.folder, 'kube')
  }

  /** Resolves when the API server is ready. Nodes register as in real life, by a token of theirs, with the rights of a node. */
  async start(nodes: readonly string[]): Promise<void> {
    await mkdir(this.#folder)
    await run(['openssl', 'genrsa', '-out', this.#file('sa.key'), '2048'])
    const users = [
      'admin,admin,1,system:masters',
      'proxy,system:kube-proxy,2,',
      ...nodes.map((node) => `${node},system:node:${node},${node},system:nodes`),
    ]
    await writeFile(this.#file('tokens'), `${users.join('\n')}\n`, { mode: 0o600 })
    for (const user of ['admin', 'proxy', ...nodes]) await this.#writeKubeconfig(user)
    await this.#startApiServer()
    const admin = `--kubeconfig=${this.kubeconfig('admin')}`
    const alone = ['--leader-elect=false', '--bind-address=127.0.0.1']
    await this.#start('controller-manager', [
      ...[this.#programs.controllerManager, admin, ...alone, '--allocate-node-cidrs=true'],
      `--cluster-cidr=${this.#ranges.pods}`,
      `--service-cluster-ip-range=${this.#ranges.services}`,
      `--service-account-private-key-file=${this.#file('sa.key')}`,
      `--root-ca-file=${this.#file('apiserver.crt')}`,
    ])
    await this.#start('scheduler', [this.#programs.scheduler, admin, ...alone])
  }

  /** Of the user `admin`, `proxy` or a node. */
  kubeconfig(user: string): string {
    return this.#file(`${user}.kubeconfig`)
  }

  async #startApiServer(): Promise<void> {
    const key = this.#file('sa.key')
    const program = await this.#start('api-server', [
      this.#programs.apiServer,
      `--etcd-servers=${this.#lab.etcd.url}`,
      `--service-cluster-ip-range=${this.#ranges.services}`,
      '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction',
      `--token-auth-file=${this.#file('tokens')}`,
      `--service-account-key-file=${key}`,
      `--service-account-signing-key-file=${key}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--cert-dir=${this.#folder}`,
      `--advertise-address=${place.address}`,
      `--bind-address=${place.address}`,
      '--secure-port=6443',
      '--allow-privileged=true',
      '--kubelet-preferred-address-types=InternalIP',
    ])
    const deadline = AbortSignal.timeout(90_000)
    const ask = [this.#programs.kubectl, `--kubeconfig=${this.kubeconfig('admin')}`, 'get', '--raw', '/readyz']
    while ((await this.#lab.controlPlane.exec(ask, { anyCode: true })).code !== 0) {
      if (!program.running || deadline.aborted)
        throw new Error(`the API server did not start:\n${(await program.logText()).slice(-3_000)}`)
      await systemClock.sleep(100, deadline)
    }
  }

  async #start(name: string, argv: readonly string[]) {
    return await this.#lab.controlPlane.start(argv, { log: this.#file(`${name}.log`), cwd: this.#folder })
  }

  async #writeKubeconfig(user: string): Promise<void> {
    const server = `https://${place.address}:6443`
    const text = kubeconfig({ server, ca: this.#file('apiserver.crt'), token: user })
    await writeFile(this.kubeconfig(user), text, { mode: 0o600 })
  }

  #file(name: string): string {
    return join(this.#folder, name)
  }
}
