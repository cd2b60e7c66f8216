import { readFile } from 'node:fs/promises'
import { parseIp } from '../../lib/address.ts'
import { ConfigError, messageOf } from '../../lib/errors.ts'
import type { Secret } from '../../lib/log.ts'
import { type AuthorityPaths, readSystemAuthorities } from './system-authorities.ts'

/** How etcd is reached: the values of the `etcd-*` flags. File paths are empty when not given. */
export interface EtcdAccess {
  readonly endpoints: readonly string[]
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
  readonly username: string
  readonly password: Secret
  /** Refuse plain http beyond loopback. */
  readonly requireTls: boolean
  /** Who is believed where no CA file is given. */
  readonly authorities: AuthorityPaths
}

export interface Endpoint {
  /** `host:port`, IPv6 in brackets; or `unix:PATH`. */
  readonly authority: string
  readonly secure: boolean
}

/** Contents of the TLS files, as they are now. */
export interface TlsFiles {
  readonly ca: Buffer | undefined
  readonly cert: Buffer | undefined
  readonly key: Buffer | undefined
  /** Where they came from; empty when not given. */
  readonly paths: { readonly ca: string; readonly cert: string; readonly key: string }
}

/**
 * Checks the endpoints before anything is sent. Without a scheme an endpoint is https where TLS is configured, else http.
 * @throws ConfigError for what must not or cannot be used
 */
export function parseEndpoints(access: EtcdAccess): { endpoints: readonly Endpoint[]; warnings: readonly string[] } {
  const tls = [access.caFile, access.certFile, access.keyFile].some((file) => file !== '')
  refuseHalfPair(access)
  const texts = access.endpoints.map((text) => text.trim()).filter((text) => text !== '')
  if (texts.length === 0) throw new ConfigError('etcd-endpoints', 'must name at least one endpoint')
  const endpoints = texts.map((text) => parseEndpoint(text, tls))
  const open = endpoints.filter(({ secure, authority }) => !secure && !isLoopback(authority))
  if (open.length > 0 && access.requireTls) {
    throw new ConfigError(
      'etcd-endpoints',
      'must be https beyond loopback, as etcd-require-tls is set',
      open[0]?.authority,
    )
  }
  const warnings = open.map(
    ({ authority }) =>
      `leases travel in clear to and from ${authority}: whoever can change them can redirect traffic; use https`,
  )
  return { endpoints, warnings }
}

/** @throws ConfigError for a certificate without its key, and the other way round */
export function refuseHalfPair({ certFile, keyFile }: EtcdAccess): void {
  if ((certFile === '') !== (keyFile === ''))
    throw new ConfigError('etcd-certfile', 'must be given together with etcd-keyfile')
}

// What etcd's own client takes, and so flannel: with or without a scheme, a path that means nothing, a socket of this host.
function parseEndpoint(text: string, tls: boolean): Endpoint {
  const [, kind, path] = /^(unixs?):(?!\/*$)(?:\/\/)?(.+)$/i.exec(text) ?? []
  if (kind !== undefined) return { authority: `unix:${path}`, secure: tls || kind.toLowerCase() === 'unixs' }
  const full = /^[a-z]+:\/\//i.test(text) ? text : `${tls ? 'https' : 'http'}://${text}`
  const url = URL.canParse(full) ? new URL(full) : null
  const known = url?.protocol === 'http:' || url?.protocol === 'https:'
  if (url === null || !known || url.hostname === '' || url.username !== '' || url.search !== '') {
    // The text is not repeated: it may hold a password.
    throw new ConfigError('etcd-endpoints', 'must be a comma list of http://HOST:PORT or https://HOST:PORT')
  }
  const secure = url.protocol === 'https:'
  if (tls && !secure) {
    throw new ConfigError('etcd-endpoints', 'must be https where a certificate or a CA is configured', url.host)
  }
  // The URL parser drops the scheme's usual port.
  return { authority: url.port === '' ? `${url.hostname}:${secure ? 443 : 80}` : url.host, secure }
}

function isLoopback(authority: string): boolean {
  if (authority.startsWith('unix:')) return true
  const host = authority.slice(0, authority.lastIndexOf(':')).replace(/^\[|\]$/g, '')
  const address = parseIp(host)
  return host === 'localhost' || address === '::1' || (address?.startsWith('127.') ?? false)
}

/** The authorities for a connection: those of the CA file, else the system's. */
export async function readAuthorities(access: EtcdAccess, { ca }: TlsFiles): Promise<Buffer> {
  return ca ?? (await readSystemAuthorities(access.authorities))
}

/** Read anew for every connection, so that rotated certificates are used without a restart. */
export async function readTlsFiles(access: EtcdAccess): Promise<TlsFiles> {
  const [ca, cert, key] = await Promise.all([read(access.caFile), read(access.certFile), read(access.keyFile)])
  return { ca, cert, key, paths: { ca: access.caFile, cert: access.certFile, key: access.keyFile } }
}

async function read(path: string): Promise<Buffer | undefined> {
  if (path === '') return undefined
  try {
    return await readFile(path)
  } catch (cause) {
    throw new Error(`the TLS file could not be read: ${messageOf(cause)}`, { cause })
  }
}

export function sameTlsFiles(a: TlsFiles, b: TlsFiles): boolean {
  const same = (x: Buffer | undefined, y: Buffer | undefined) => (x && y ? x.equals(y) : x === y)
  return same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key)
}
