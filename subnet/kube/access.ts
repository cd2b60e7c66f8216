import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import { type ApiAccess, type Material, notYaml, parseKubeconfig, parseServer } from './kubeconfig.ts'

export interface AccessOptions {
  /** Empty: the kubeconfig's server, or that of the pod. */
  readonly apiUrl: string
  readonly kubeconfigFile: string | undefined
  /** `KUBERNETES_SERVICE_HOST` and `_PORT`, of the environment. */
  readonly serviceHost: string | undefined
  readonly servicePort: string | undefined
  /** Whether the kubeconfig may name a program that gives the credentials. */
  readonly allowExec?: boolean
}

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/** As Kubernetes' own client chooses: a kubeconfig whose server `apiUrl` replaces; that address alone; the pod's service account. @throws ConfigError */
export async function apiAccess({ apiUrl, ...options }: AccessOptions): Promise<ApiAccess> {
  const server = apiUrl === '' ? undefined : parseServer(apiUrl, '--kube-api-url')
  if (options.kubeconfigFile !== undefined) {
    const read = await readKubeconfig(options.kubeconfigFile, options.allowExec ?? false)
    return server === undefined ? read : { ...read, server }
  }
  if (server !== undefined) return { server, insecure: false }
  const { serviceHost: host, servicePort: port = '443' } = options
  if (host === undefined || host === '') {
    throw new ConfigError('--kubeconfig-file', 'must be given, or --kube-api-url, where the daemon runs in no pod')
  }
  return {
    server: parseServer(`https://${host.includes(':') ? `[${host}]` : host}:${port}`, 'KUBERNETES_SERVICE_HOST'),
    ca: { file: `${ACCOUNT}/ca.crt` },
    token: { file: `${ACCOUNT}/token` },
    insecure: false,
  }
}

async function readKubeconfig(path: string, allowExec: boolean): Promise<ApiAccess> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new ConfigError('--kubeconfig-file', `must be readable (${messageOf(cause)})`)
  }
  // In a pod nobody needs it.
  const { load } = await import('js-yaml')
  let document: unknown
  try {
    document = load(text)
  } catch (cause) {
    throw notYaml(path, cause)
  }
  const access = parseKubeconfig(document, (file) => resolve(dirname(path), file), { allowExec })
  if (access.exec !== undefined) for (const file of [resolve(path), access.exec.command]) await refuseOthers(file)
  return access
}

/** Whoever can write these runs what he likes with the daemon's rights. A name that is looked for in PATH is not looked at. */
async function refuseOthers(path: string): Promise<void> {
  if (!path.startsWith('/')) return
  const [found, self] = await Promise.all([stat(path).catch(() => undefined), stat('/proc/self')])
  if (found === undefined) return
  const why = 'as it decides what is run'
  if ((found.mode & 0o022) !== 0)
    throw new ConfigError(path, `must not be writable by others, ${why}; run: chmod go-w ${path}`)
  if (found.uid !== 0 && found.uid !== self.uid)
    throw new ConfigError(path, `must not belong to another user, ${why}; run: chown ${self.uid} ${path}`)
}

/** What an operator should know of this access. */
export async function accessWarnings(
  { server, insecure }: ApiAccess,
  kubeconfigFile: string | undefined,
): Promise<readonly string[]> {
  const isNear = ['localhost', '127.0.0.1', '[::1]'].includes(server.hostname)
  const mode = kubeconfigFile === undefined ? 0 : (await stat(kubeconfigFile)).mode & 0o077
  return [
    ...(server.protocol === 'http:' && !isNear
      ? [`${server.origin} is plain http: anybody on the way can read and change it`]
      : []),
    ...(insecure ? ["the API server's certificate is not checked (insecure-skip-tls-verify)"] : []),
    ...(mode === 0 ? [] : [`${kubeconfigFile} can be read by others than its owner`]),
  ]
}

/**
 * By what a cluster is known while it does not answer: each certificate of its authority, so that one which is replaced step by step
 * stays known; the address where there is none. In a pod the address says nothing: it is that of the first Service in every cluster.
 */
export async function clusterMarks({ ca, server }: ApiAccess): Promise<readonly string[]> {
  const text = await readMaterial(ca).catch(() => undefined)
  const certificates = text?.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (certificates.length === 0) return [server.origin]
  return certificates.map((each) => createHash('sha256').update(each.replace(/\s/g, '')).digest('hex'))
}

/** As it is now: tokens and certificates are renewed while the daemon runs. */
export async function readMaterial(material: Material | undefined): Promise<string | undefined> {
  if (material === undefined) return undefined
  return 'file' in material ? await readFile(material.file, 'utf8') : material.text.reveal()
}
