/** Options of dockerd, from its words and from daemon.json, by the names of the latter. Pure. */
export interface DockerOptions {
  /** By name; a flag that stands more than once has all of its values. */
  readonly flags: ReadonlyMap<string, readonly string[]>
  readonly file: ReadonlyMap<string, unknown>
}

/** Where flags may be given again and again, daemon.json has the plural. Source: moby, cmd/dockerd/config.go. */
const PLURAL: Readonly<Record<string, string>> = {
  host: 'hosts',
  label: 'labels',
  'insecure-registry': 'insecure-registries',
  'registry-mirror': 'registry-mirrors',
  'storage-opt': 'storage-opts',
  'log-opt': 'log-opts',
  'exec-opt': 'exec-opts',
  'dns-opt': 'dns-opts',
  'dns-search': 'dns-search',
  'default-ulimit': 'default-ulimits',
  'authorization-plugin': 'authorization-plugins',
}
const SHORT: Readonly<Record<string, string>> = {
  b: 'bridge',
  H: 'host',
  D: 'debug',
  G: 'group',
  g: 'data-root',
  l: 'log-level',
  p: 'pidfile',
  s: 'storage-driver',
}
const SWITCHES: ReadonlySet<string> = new Set([
  'debug',
  'ip-masq',
  'iptables',
  'ip6tables',
  'ip-forward',
  'ip-forward-no-drop',
  'ipv6',
  'icc',
  'live-restore',
  'userland-proxy',
  'tls',
  'tlsverify',
  'experimental',
  'selinux-enabled',
  'init',
  'rootless',
  'no-new-privileges',
  'raw-logs',
  'validate',
  'allow-direct-routing',
  'help',
  'version',
])

const FLAG = /^(--?)([A-Za-z][\w-]*)(?:=([\s\S]*))?$/

/** `words`: behind the program's name. */
export function readFlags(words: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const flags = new Map<string, string[]>()
  for (let at = 0; at < words.length; at += 1) {
    const [, dashes = '', text = '', given] = FLAG.exec(words[at] ?? '') ?? []
    if (dashes === '') continue
    const name = dashes === '-' ? (SHORT[text] ?? text) : text
    let value = given
    // dockerd gets new switches with each version: one that is not known here must not swallow the flag that follows.
    if (value === undefined && (SWITCHES.has(name) || FLAG.test(words[at + 1] ?? ''))) value = 'true'
    if (value === undefined) {
      at += 1
      value = words[at] ?? ''
    }
    const key = PLURAL[name] ?? name
    flags.set(key, [...(flags.get(key) ?? []), value])
  }
  return flags
}

/** Undefined: it is no JSON object, and dockerd does not start. */
export function readDaemonJson(text: string): ReadonlyMap<string, unknown> | undefined {
  try {
    const value: unknown = text.trim() === '' ? {} : JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? new Map(Object.entries(value))
      : undefined
  } catch {
    return undefined
  }
}

/** In use: by whichever of the two it is given. */
export function optionOf({ flags, file }: DockerOptions, name: string): string | undefined {
  const value = flags.get(name)?.at(-1) ?? file.get(name)
  return value === undefined || value === '' ? undefined : String(value)
}
