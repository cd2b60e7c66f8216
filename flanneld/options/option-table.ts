import type { IpAddr } from '../../lib/address.ts'
import { Secret } from '../../lib/log.ts'
import type { FlagSyntax, FlagValue } from './go-flags.ts'
import * as as from './option-values.ts'

/** One flag. `fallback` is the default as one would write it; `read` turns what was written into what the program uses, or throws Unusable. */
export interface OptionSpec<T> {
  readonly syntax: FlagSyntax
  readonly fallback: FlagValue
  /** Stands for the value in the usage text. */
  readonly placeholder: string
  readonly help: string
  readonly read: (written: never) => T
  readonly secret?: true
}

const text = <T>(fallback: string, placeholder: string, help: string, read: (written: string) => T) =>
  ({ syntax: 'text', fallback, placeholder, help, read }) satisfies OptionSpec<T>
const plain = (fallback: string, placeholder: string, help: string) =>
  text(fallback, placeholder, help, (value) => value)
const boolean = (fallback: boolean, help: string) =>
  ({
    syntax: 'boolean',
    fallback,
    placeholder: '',
    help,
    read: (value: boolean) => value,
  }) satisfies OptionSpec<boolean>
const integer = (fallback: number, placeholder: string, help: string, least: number, most: number) =>
  ({ syntax: 'integer', fallback, placeholder, help, read: as.integerIn(least, most) }) satisfies OptionSpec<number>
const list = <T>(placeholder: string, help: string, read: (written: readonly string[]) => T) =>
  ({ syntax: 'list', fallback: [] as readonly string[], placeholder, help, read }) satisfies OptionSpec<T>

/** Every flag of the daemon, in the order of the documentation. Names, defaults and meanings down to `log_backtrace_at` are flannel's. */
export const OPTION_TABLE = {
  'etcd-endpoints': text(
    'http://127.0.0.1:4001,http://127.0.0.1:2379',
    'URLS',
    'etcd servers, separated by commas',
    as.endpoints,
  ),
  'etcd-prefix': text(
    '/coreos.com/network',
    'KEY',
    'key in etcd below which configuration and leases lie',
    as.storePrefix,
  ),
  'etcd-keyfile': text('', 'FILE', 'private key for TLS with etcd', as.optionalFilePath),
  'etcd-certfile': text('', 'FILE', 'client certificate for TLS with etcd', as.optionalFilePath),
  'etcd-cafile': text('', 'FILE', "certificate authority of etcd's servers; enough by itself", as.optionalFilePath),
  'etcd-username': plain('', 'NAME', 'user for etcd'),
  'etcd-password': {
    ...text('', 'WORD', "user's password for etcd", (value): Secret | undefined =>
      value === '' ? undefined : new Secret(value),
    ),
    secret: true as const,
  },
  'kube-subnet-mgr': boolean(false, 'take leases from the Kubernetes API instead of etcd'),
  'kube-api-url': plain('', 'URL', 'Kubernetes API server; not needed inside a pod'),
  'kubeconfig-file': text('', 'FILE', 'kubeconfig; not needed inside a pod', as.optionalFilePath),
  'kube-annotation-prefix': text(
    'flannel.alpha.coreos.com',
    'PREFIX',
    'prefix of the node annotations',
    as.annotationPrefix,
  ),
  'net-config-path': text(
    '/etc/kube-flannel/net-conf.json',
    'FILE',
    'network configuration in Kubernetes mode',
    as.filePath,
  ),
  iface: list('NAME|IP', 'interface for traffic between hosts; repeatable, the first that is found is taken', as.named),
  'iface-regex': list(
    'REGEX',
    'as iface, by a Go regular expression over addresses, then names; tried after every iface',
    as.named,
  ),
  'iface-can-reach': text('', 'IP', 'as iface, by the route that leads to this address', as.optionalIp()),
  'public-ip': text(
    '',
    'IP',
    'IPv4 address that other hosts are told (default: that of the interface)',
    as.optionalIp(4),
  ),
  'public-ipv6': text(
    '',
    'IP',
    'IPv6 address that other hosts are told (default: that of the interface)',
    as.optionalIp(6),
  ),
  'subnet-file': text('/run/flannel/subnet.env', 'FILE', "where this host's subnet and MTU are written", as.filePath),
  'subnet-lease-renew-margin': integer(
    60,
    'MINUTES',
    'minutes before its expiry at which the lease is renewed, 1 to 1439',
    1,
    1439,
  ),
  'ip-masq': boolean(false, 'masquerade traffic that leaves the overlay network'),
  'ip-masq-fully-random-disable': boolean(false, 'masquerade without fully random ports'),
  'iptables-resync': integer(5, 'SECONDS', 'seconds between two checks of iptables rules', 1, 86_400),
  'iptables-forward-rules': boolean(true, 'let overlay traffic through the FORWARD chain'),
  'ip-blackhole-route': boolean(false, 'drop what is sent to unused addresses of the own subnet (blackhole route)'),
  'healthz-ip': text(
    '0.0.0.0',
    'IP',
    'address of the health and metrics server',
    (value): IpAddr => as.optionalIp()(value) ?? ('::' as IpAddr),
  ),
  'healthz-port': integer(0, 'PORT', 'port of the health and metrics server; 0: none', 0, 65_535),
  'set-node-network-unavailable': boolean(true, "set the node's condition NetworkUnavailable (Kubernetes mode)"),
  v: {
    syntax: 'decimal',
    fallback: 0,
    placeholder: 'LEVEL',
    help: 'log level; from 1 on with debug lines',
    read: (value: number) => value,
  },
  vmodule: text('', 'PATTERN=N,...', 'log level for messages whose code matches a pattern', as.verbosityRules),
  log_backtrace_at: text('', 'CODE:N', 'add a stack trace to the log line with this source part', as.tracePoint),
  'state-dir': text(
    '/var/lib/flannel',
    'DIR',
    "this host's identity and what else must outlive a reboot; mode 0700",
    as.filePath,
  ),
  'log-format': text('klog', 'klog|json|logfmt', 'form of the log lines', as.oneOf('klog', 'json', 'logfmt')),
  'status-socket': text(
    '/run/flannel/flanneld.sock',
    'FILE',
    'unix socket that answers `flanneld status`; empty: none',
    as.optionalSocketPath,
  ),
  hold: integer(15, 'MINUTES', 'minutes that peers are kept which vanished all at once', 0, 525_600),
  drain: integer(
    10,
    'MINUTES',
    'minutes after which a change of the backend that still waits for somebody is a warning',
    0,
    525_600,
  ),
  'masq-exempt': list('CIDR', 'destinations that are not masqueraded; repeatable', as.cidrs),
  'guard-allow': list('CIDR', 'sources that the ingress guard lets in; repeatable', as.cidrs),
  'ingress-guard': text(
    'count',
    'on|count|off',
    'packets into the overlay that no peer may send: drop and count, count, or ignore',
    as.oneOf('on', 'count', 'off'),
  ),
  'protected-cidrs': text(
    '169.254.0.0/16',
    'CIDRS',
    "prefixes that no peer's subnet may overlap, nor one that this node newly leases, separated by commas",
    (value) => as.cidrs(as.commaList(value)),
  ),
  'etcd-require-tls': boolean(false, 'refuse plain http to etcd beyond this host'),
  'allow-extension': boolean(false, 'run commands that a configuration read from etcd names'),
  'allow-kubeconfig-exec': boolean(false, 'let the kubeconfig start programs'),
  'cni-conf-file': text(
    '',
    'FILE',
    'CNI configuration (.conflist) that is written with the leased subnet; empty: none',
    as.optionalConflistPath,
  ),
  'cni-network': text('cbr0', 'NAME', 'name of the network in the CNI configuration', as.cniNetworkName),
  'cni-bin-dir': text('/opt/cni/bin', 'DIR', 'where the container runtime looks for CNI plugins', as.filePath),
  'cni-plugins-from': text(
    '',
    'DIR',
    'CNI plugins that are copied to cni-bin-dir where they are missing; empty: none',
    as.optionalFilePath,
  ),
} satisfies Record<string, OptionSpec<unknown>>

export type FlagName = keyof typeof OPTION_TABLE

type CamelCase<S extends string> = S extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S extends `${infer Head}_${infer Tail}`
    ? `${Head}${Capitalize<CamelCase<Tail>>}`
    : S

/** What every part of the program reads: the flags' names in camel case. */
export type Options = {
  readonly [Name in FlagName as CamelCase<Name>]: ReturnType<(typeof OPTION_TABLE)[Name]['read']>
}

export const FLAG_NAMES = Object.keys(OPTION_TABLE) as readonly FlagName[]

export function specOf(name: string): OptionSpec<unknown> | undefined {
  return Object.hasOwn(OPTION_TABLE, name) ? OPTION_TABLE[name as FlagName] : undefined
}

/** `etcd-prefix` -> `FLANNELD_ETCD_PREFIX`. */
export function variableOf(name: string): string {
  return `FLANNELD_${name.toUpperCase().replaceAll('-', '_')}`
}

export function optionKey(name: string): string {
  return name.replace(/[-_](.)/g, (_match, letter: string) => letter.toUpperCase())
}
