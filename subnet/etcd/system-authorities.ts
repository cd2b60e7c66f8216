import { X509Certificate } from 'node:crypto'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'

/** `SSL_CERT_FILE` and `SSL_CERT_DIR` (a list with colons), empty when not set. */
export interface AuthorityPaths {
  readonly file: string
  readonly directories: string
}

// The places and their order are those of Go's crypto/x509/root_linux.go, and so those of flannel: the first file that can be read,
// and every directory. Node's own list is another one: it lacks what an administrator added to the system's.
const FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
]
const DIRECTORIES = ['/etc/ssl/certs', '/etc/pki/tls/certs']

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** The certificates of the system's authorities, as PEM. @throws Error where there are none: nobody could be believed */
export async function readSystemAuthorities(paths: AuthorityPaths): Promise<Buffer> {
  const files = paths.file === '' ? FILES : [paths.file]
  const directories = paths.directories === '' ? DIRECTORIES : paths.directories.split(':')
  const texts = [await firstReadable(files)]
  for (const directory of directories) texts.push(...(await readAll(directory)))
  const certificates = new Set(texts.flatMap((text) => text.match(BLOCK) ?? []).filter(isCertificate))
  if (certificates.size === 0) {
    const places = [...files, ...directories].join(', ')
    throw new Error(`no certificate authorities of the system in ${places}: install them, or give --etcd-cafile`)
  }
  return Buffer.from([...certificates].join('\n'))
}

async function firstReadable(files: readonly string[]): Promise<string> {
  for (const file of files) {
    const text = await readText(file)
    if (text !== undefined) return text
  }
  return ''
}

async function readAll(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => [])
  const texts: string[] = []
  for (const entry of entries) {
    const path = join(directory, entry.name)
    // `c_rehash` puts a link by hash beside each file.
    if (entry.isSymbolicLink() && !(await readlink(path).catch(() => '')).includes('/')) continue
    const text = await readText(path)
    if (text !== undefined) texts.push(text)
  }
  return texts
}

async function readText(path: string): Promise<string | undefined> {
  return await readFile(path, 'latin1').catch(() => undefined)
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0
  } catch {
    return false
  }
}
