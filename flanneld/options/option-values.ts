import { posix } from 'node:path'
import { type Cidr, type Family, familyOf, type IpAddr, parseCidr, parseIp } from '../../lib/address.ts'

/** A value that is written correctly and still cannot be used; the text says what was expected. */
export class Unusable extends Error {
  override readonly name = 'Unusable'
}

export function integerIn(least: number, most: number): (value: number) => number {
  return (value) => {
    if (value < least || value > most) throw new Unusable(`must be an integer from ${least} to ${most}`)
    return value
  }
}

export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((each) => each === text)
    if (word === undefined) throw new Unusable(`must be one of ${words.join(', ')}`)
    return word
  }
}

/** Empty means: not given. */
export function optionalIp(family?: Family): (text: string) => IpAddr | undefined {
  return (text) => {
    if (text === '') return undefined
    const address = parseIp(text)
    if (address === undefined || (family !== undefined && familyOf(address) !== family)) {
      throw new Unusable(`must be an IP${family === undefined ? '' : `v${family}`} address`)
    }
    return address
  }
}

export function cidrs(texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => {
    const cidr = parseCidr(text)
    if (cidr === undefined) throw new Unusable('must be a prefix such as 10.96.0.0/12')
    return cidr
  })
}

export function commaList(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/**
 * `scheme://host:port` each, what etcd's own client takes: without a scheme, too (https where TLS is configured), with a path that means
 * nothing, or a socket as `unix:PATH`.
 */
export function endpoints(text: string): readonly string[] {
  const urls = commaList(text).map((part) => {
    if (/^unixs?:(?!\/*$)/i.test(part)) return part
    const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(part)?.[0]
    const full = scheme === undefined ? `http://${part}` : part
    const url = URL.canParse(full) ? new URL(full) : undefined
    // The text of a bad one is not repeated: it may hold a password.
    if (url !== undefined && (url.username !== '' || url.password !== '')) {
      throw new Unusable('must not hold a user or password')
    }
    if (
      url === undefined ||
      !/^https?:$/.test(url.protocol) ||
      url.hostname === '' ||
      url.search !== '' ||
      url.hash !== ''
    ) {
      throw new Unusable('must be a comma list of http:// or https:// addresses')
    }
    // URL drops the scheme's own port even where it was written; etcd's port is 2379.
    const port = /^[^/]*:(\d+)(?:\/|$)/.exec(full.slice(url.protocol.length + 2))?.[1] ?? '2379'
    if (Number(port) === 0) throw new Unusable('must not name port 0, which nobody can listen at')
    return `${scheme === undefined ? '' : `${url.protocol}//`}${url.hostname}:${port}`
  })
  if (urls.length === 0) throw new Unusable('must name at least one address')
  return urls
}

/** Joined as Go's path.Join does: doubled and trailing slashes vanish, but the root is one. */
export function storePrefix(text: string): string {
  const clean = posix.normalize(text).replace(/(?<=.)\/$/, '')
  if (text === '' || clean === '.') throw new Unusable('must name a key below which everything lies')
  return clean
}

/** `a.b/`, or `a.b/c-` where names shall begin with more. Source: flannel, pkg/subnet/kube/annotations.go. */
export function annotationPrefix(text: string): string {
  const slashed = text.includes('/') ? text : `${text}/`
  const prefix = /[/-]$/.test(slashed) ? slashed : `${slashed}-`
  if (!/^([a-z0-9_-]+\.)+[a-z0-9_-]+\/([a-z0-9_-]+-)?$/.test(prefix)) {
    throw new Unusable(
      'must be a domain in small letters, as in flannel.alpha.coreos.com, with at most one / and a word behind it',
    )
  }
  return prefix
}

/** PATH_MAX and NAME_MAX of linux/limits.h, less what is written beside a file: its lock, and its next content. */
const LONGEST_PATH = 4000
const LONGEST_NAME = 220
/** Bytes of a unix socket's path. Source: unix(7), sun_path, less the terminating zero. */
const LONGEST_SOCKET_PATH = 107

/** Absolute, so that one file has one name. */
export function filePath(text: string): string {
  const path = posix.resolve(text)
  if (text === '' || text.includes('\0') || path === '/') throw new Unusable('must be a path')
  const longestName = Math.max(...path.split('/').map((name) => Buffer.byteLength(name)))
  if (longestName > LONGEST_NAME || Buffer.byteLength(path) > LONGEST_PATH) {
    throw new Unusable(`must have at most ${LONGEST_PATH} bytes, and ${LONGEST_NAME} between two slashes`)
  }
  return path
}

export function optionalFilePath(text: string): string | undefined {
  return text === '' ? undefined : filePath(text)
}

/** Empty means: none. Runtimes read a list of plugins from files of this name only. */
export function optionalConflistPath(text: string): string | undefined {
  const path = optionalFilePath(text)
  if (path === undefined || /[^/]\.conflist$/.test(path)) return path
  throw new Unusable('must end in .conflist, or no container runtime reads it')
}

/** Longer ones make no directory of host-local's. */
const LONGEST_NETWORK_NAME = 64

/** Source: CNI specification, "Network configuration format". */
export function cniNetworkName(text: string): string {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text) && text.length <= LONGEST_NETWORK_NAME) return text
  throw new Unusable(
    `must be a letter or digit, then letters, digits, _, . or -, at most ${LONGEST_NETWORK_NAME} characters together`,
  )
}

/** Empty means: none. */
export function optionalSocketPath(text: string): string | undefined {
  const path = optionalFilePath(text)
  if (path === undefined || Buffer.byteLength(path) <= LONGEST_SOCKET_PATH) return path
  throw new Unusable(`must have at most ${LONGEST_SOCKET_PATH} bytes, which is all that a socket's path may have`)
}

/** An empty value, of a variable in a pod's template say, names nothing, as for flannel. */
export function named(texts: readonly string[]): readonly string[] {
  return texts.filter((text) => text !== '')
}

/** klog's `pattern=N,...`: more lines from parts whose code matches the pattern. */
export function verbosityRules(text: string): readonly { readonly pattern: string; readonly level: number }[] {
  return commaList(text).map((part) => {
    const match = /^([^=]+)=(\d{1,9})$/.exec(part)
    if (match?.[1] === undefined) throw new Unusable('must be a comma list of pattern=N')
    return { pattern: match[1], level: Number(match[2]) }
  })
}

/** klog's `file:line`: the place in the log at which a stack trace is wanted. */
export function tracePoint(text: string): string | undefined {
  if (text === '') return undefined
  if (!/^[^:]+:[1-9]\d{0,8}$/.test(text)) throw new Unusable('must be the source part of a log line, code:N')
  return text
}
