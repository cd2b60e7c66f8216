import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { EtcdServer, freePort } from '../etcd/etcd-server.ts'
import { peerProgram } from '../needs.ts'
import { until } from '../until.ts'

const token = 'admin-token'

/** A real API server on 127.0.0.1 with an etcd of its own. */
export class ApiServer {
  readonly url: URL
  readonly ca: string
  readonly #etcd: EtcdServer
  readonly #process: ChildProcess

  private constructor(etcd: EtcdServer, url: URL, ca: string, process: ChildProcess) {
    this.#etcd = etcd
    this.url = url
    this.ca = ca
    this.#process = process
  }

  static async start(): Promise<ApiServer> {
    const etcd = await EtcdServer.start()
    const port = await freePort()
    const file = (name: string) => join(etcd.folder, name)
    const certificate = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=test']
    const names = ['-addext', 'subjectAltName=IP:127.0.0.1']
    await promisify(execFile)('openssl', [
      'req',
      ...certificate,
      ...names,
      ...['-keyout', file('key'), '-out', file('cert')],
    ])
    await writeFile(file('tokens.csv'), `${token},admin,1,system:masters\n`)
    const flags = [
      `--etcd-servers=${etcd.url}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      '--authorization-mode=RBAC',
      '--allow-privileged=true',
      `--token-auth-file=${file('tokens.csv')}`,
      `--tls-cert-file=${file('cert')}`,
      `--tls-private-key-file=${file('key')}`,
      `--service-account-key-file=${file('key')}`,
      `--service-account-signing-key-file=${file('key')}`,
      '--service-account-issuer=https://test',
      '--advertise-address=127.0.0.1',
      '--bind-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      `--secure-port=${port}`,
    ]
    const process = spawn(peerProgram('peer:kube-apiserver'), flags, { stdio: 'ignore', cwd: etcd.folder })
    const server = new ApiServer(
      etcd,
      new URL(`https://127.0.0.1:${port}`),
      await readFile(file('cert'), 'utf8'),
      process,
    )
    await until(90_000, 'the API server answers', async () => {
      if (process.exitCode !== null) throw new Error(`it ended with ${process.exitCode}`)
      await server.send('GET', '/readyz')
    })
    return server
  }

  get token(): string {
    return token
  }

  /** The body of the answer; rejects for any but 2xx. */
  async send(method: string, path: string, body?: object): Promise<string> {
    const merge = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const headers = { authorization: `Bearer ${token}`, 'content-type': merge }
    return await new Promise((resolve, reject) => {
      const sent = request(new URL(path, this.url), { method, headers, ca: this.ca, agent: false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () =>
          (response.statusCode ?? 0) < 300
            ? resolve(text)
            : reject(new Error(`${path} ${response.statusCode} ${text}`)),
        )
      })
      sent.on('error', reject).end(body && JSON.stringify(body))
    })
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    if (this.#process.exitCode === null && this.#process.kill('SIGKILL')) await ended
    await this.#etcd.close()
  }
}
