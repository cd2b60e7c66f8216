import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApiServer } from '../kube/api-server.ts'
import { helm, kubectl, type Manifest, manifests, type Ran } from './helm.ts'

/** Helm and kubectl beside a real API server. There is no kubelet and no controller: objects are what somebody puts. */
export class Cluster {
  readonly server: ApiServer
  readonly #folder: string

  private constructor(server: ApiServer, folder: string) {
    this.server = server
    this.#folder = folder
  }

  static async start(): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'flannel-chart-'))
    const cluster = new Cluster(await ApiServer.start(), folder)
    await writeFile(join(folder, 'admin'), cluster.#kubeconfig(cluster.server.token), { mode: 0o600 })
    return cluster
  }

  helm(args: readonly string[], values?: object): Ran {
    return helm(args, values, this.#environment('admin'))
  }

  kubectl(args: readonly string[], input?: string): Ran {
    return kubectl(args, input, this.#environment('admin'))
  }

  /** Its standard output; anything but success is a failure of the test. */
  done(ran: Ran): string {
    assert.ok(ran.ok, ran.stderr)
    return ran.stdout
  }

  /** What the API server would make of these objects, its defaults filled in; unknown fields are refused. */
  dryRun(items: readonly Manifest[], namespace: string): readonly Manifest[] {
    const args = ['create', '--dry-run=server', '--validate=strict', '-o', 'yaml', '--namespace', namespace, '-f', '-']
    const list = { apiVersion: 'v1', kind: 'List', items }
    return manifests(this.done(this.kubectl(args, JSON.stringify(list))))
  }

  get(...args: readonly string[]): Manifest {
    return JSON.parse(this.done(this.kubectl(['get', '-o', 'json', ...args])))
  }

  /** kubectl with another token, and with no right but that token's. */
  async as(token: string): Promise<(args: readonly string[], input?: string) => Ran> {
    const name = `token-${token.slice(-12).replace(/\W/g, '')}`
    await writeFile(join(this.#folder, name), this.#kubeconfig(token), { mode: 0o600 })
    return (args, input) => kubectl(args, input, this.#environment(name))
  }

  async close(): Promise<void> {
    await this.server.close()
    await rm(this.#folder, { recursive: true })
  }

  #environment(name: string): NodeJS.ProcessEnv {
    return { KUBECONFIG: join(this.#folder, name), HOME: this.#folder }
  }

  #kubeconfig(token: string): string {
    const cluster = {
      server: this.server.url.origin,
      'certificate-authority-data': Buffer.from(this.server.ca).toString('base64'),
    }
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster }],
      users: [{ name: 'test', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
      'current-context': 'test',
    })
  }
}

/** Starts one before the tests of this suite and ends it behind them, also where what it `needs` is not there. */
export function useCluster(suite: Mocha.Suite): () => Cluster {
  const started: Cluster[] = []
  suite.timeout(60_000)
  suite.beforeAll(async function () {
    this.timeout(100_000)
    started.push(await Cluster.start())
  })
  suite.afterAll(async () => {
    for (const one of started) await one.close()
  })
  return () => {
    const [one] = started
    if (one === undefined) throw new Error('no cluster was started')
    return one
  }
}
