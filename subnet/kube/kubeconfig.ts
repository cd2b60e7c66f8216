import { ConfigError } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import { Secret } from '../../lib/log.ts'
import { type ExecSpec, readExecSpec } from './exec-plugin.ts'

/** Of a kubeconfig an error names the path alone: a token may stand at a wrong place too. */
const SECRET = { secret: true }

const IMPERSONATION = ['as', 'as-uid', 'as-groups', 'as-user-extra']

/** Text that stands in the kubeconfig itself, or in a file that is read again for each request. */
export type Material = { readonly text: Secret } | { readonly file: string }

/** How the API server is reached and who asks. */
export interface ApiAccess {
  readonly server: URL
  readonly ca?: Material
  readonly cert?: Material
  readonly key?: Material
  readonly token?: Material
  readonly basic?: Secret
  /** Gives token or certificate in place of those above. */
  readonly exec?: ExecSpec
  /** The name that the server's certificate must bear, in place of the host's. */
  readonly serverName?: string
  readonly insecure: boolean
}

/**
 * The access of the current context. A program that a kubeconfig names (`exec`) is refused unless `allowExec`: whoever can write the
 * file could run anything as root. `auth-provider` is what Kubernetes has taken out of its own clients, and refused always,
 * as is what would be ignored else: a proxy, and the name of another user to ask as.
 * @param document the parsed YAML
 * @param resolve makes a path absolute that is relative to the kubeconfig
 * @throws ConfigError naming the path
 */
export function parseKubeconfig(
  document: unknown,
  resolve: (path: string) => string,
  { allowExec }: { readonly allowExec: boolean },
): ApiAccess {
  const root = new JsonFields(document, '', SECRET)
  const context = named(root, 'contexts', 'context', root.string('current-context') ?? '')
  const cluster = named(root, 'clusters', 'cluster', context.string('cluster') ?? '')
  const userName = context.string('user') ?? ''
  const user = userName === '' ? new JsonFields({}, 'user', SECRET) : named(root, 'users', 'user', userName)
  if (user.raw('auth-provider') !== undefined) {
    const instead = 'use exec with --allow-kubeconfig-exec, a token, a token file or a certificate'
    throw new ConfigError(user.at('auth-provider'), `is not supported, as in Kubernetes' own clients: ${instead}`)
  }
  refuseIgnored(cluster, ['proxy-url'], 'give a server that is reached without a proxy')
  refuseIgnored(user, IMPERSONATION, 'the daemon asks as the user itself: give the credentials of the one it is to be')
  const execRaw = user.raw('exec')
  if (execRaw !== undefined && !allowExec) {
    throw new ConfigError(
      user.at('exec'),
      'starts a program and is refused: use a token, a token file or a certificate, or allow it by --allow-kubeconfig-exec',
    )
  }
  const material = (fields: JsonFields, name: string): Material | undefined => {
    const data = fields.string(`${name}-data`)
    if (data !== undefined && data !== '') return { text: new Secret(Buffer.from(data, 'base64').toString()) }
    const file = fields.string(name)
    return file === undefined || file === '' ? undefined : { file: resolve(file) }
  }
  const basic = basicOf(user)
  const exec =
    execRaw === undefined
      ? undefined
      : readExecSpec(new JsonFields(execRaw, user.at('exec'), SECRET), resolve, clusterInfo(cluster))
  const serverName = cluster.string('tls-server-name')
  const [ca, cert, key, token] = [
    material(cluster, 'certificate-authority'),
    material(user, 'client-certificate'),
    material(user, 'client-key'),
    tokenOf(user, resolve),
  ]
  return {
    server: parseServer(cluster.string('server') ?? '', cluster.at('server')),
    insecure: cluster.boolean('insecure-skip-tls-verify', false),
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(token && { token }),
    ...(basic && { basic }),
    ...(exec && { exec }),
    ...(serverName && { serverName }),
  }
}

/** Who asks as another user, or by another way, than the file says is refused later with a reason that names neither. */
function refuseIgnored(fields: JsonFields, names: readonly string[], instead: string): void {
  for (const name of names) {
    const value = fields.raw(name) ?? ''
    const isEmpty = typeof value === 'object' ? Object.keys(value).length === 0 : value === ''
    if (!isEmpty) throw new ConfigError(fields.at(name), `is not supported: ${instead}`)
  }
}

/** @throws ConfigError */
export function parseServer(text: string, path: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    // Not repeated where it may hold a password.
    throw new ConfigError(path, 'must be an http:// or https:// address', text.includes('@') ? undefined : text)
  }
  if (url.username !== '' || url.password !== '') throw new ConfigError(path, 'must not hold a user or password')
  return url
}

/** As a program is told of the cluster (`Cluster` of client.authentication.k8s.io). */
function clusterInfo(cluster: JsonFields): object {
  const text = (name: string) => {
    const value = cluster.string(name)
    return value === undefined ? {} : { [name]: value }
  }
  return {
    ...text('server'),
    ...text('tls-server-name'),
    ...(cluster.boolean('insecure-skip-tls-verify', false) && { 'insecure-skip-tls-verify': true }),
    ...text('certificate-authority-data'),
  }
}

function named(root: JsonFields, list: string, part: string, name: string): JsonFields {
  const rows = root.raw(list)
  if (!Array.isArray(rows)) throw new ConfigError(list, 'must be a list')
  const index = rows.findIndex((row) => row?.name === name)
  if (index < 0) throw new ConfigError(list, `must have an entry of the name that is referred to`, name)
  return new JsonFields(rows[index]?.[part] ?? {}, `${list}[${index}].${part}`, SECRET)
}

// The file wins, as for Kubernetes' own client: the token in it is renewed.
function tokenOf(user: JsonFields, resolve: (path: string) => string): Material | undefined {
  const file = user.string('tokenFile')
  if (file !== undefined && file !== '') return { file: resolve(file) }
  const token = user.string('token')
  return token === undefined || token === '' ? undefined : { text: new Secret(token) }
}

function basicOf(user: JsonFields): Secret | undefined {
  const [name, word] = [user.string('username'), user.string('password')]
  return name === undefined || name === '' ? undefined : new Secret(`${name}:${word ?? ''}`)
}

/** The error for what is no YAML. It names the place alone: the parser's reasons quote the file. */
export function notYaml(path: string, cause: unknown): ConfigError {
  const { line, column } = markOf(cause)
  const where = line === undefined || column === undefined ? '' : ` (line ${line + 1}, column ${column + 1})`
  return new ConfigError(path, `must be a kubeconfig, and is no YAML${where}`)
}

function markOf(cause: unknown): { readonly line?: number; readonly column?: number } {
  return (cause as { readonly mark?: { readonly line: number; readonly column: number } }).mark ?? {}
}
