import { readFile } from 'node:fs/promises'
import type { Cidr, Family } from '../../lib/address.ts'
import { ConfigError, PermissionError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/log.ts'
import type { CniNetwork } from '../cni/conflist.ts'
import type { InterfaceOptions } from '../host/external-interface.ts'
import type { WantedTraffic } from '../host/traffic-choice.ts'
import type { AgentOptions } from '../node/agent-needs.ts'
import type { GuardOptions } from '../node/guard-rules.ts'
import { instanceOf } from '../state/instance.ts'
import { parseSubnetFile } from '../state/subnet-file.ts'
import type { Environment, Options } from './options.ts'

/** Bit of CAP_NET_ADMIN. Source: capabilities(7), linux/capability.h. */
const CAP_NET_ADMIN = 12n

/** Throws PermissionError when this process may not change the network. */
export async function requireNetAdmin(): Promise<void> {
  const status = await readFile('/proc/self/status', 'utf8')
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  if (((effective >> CAP_NET_ADMIN) & 1n) === 0n) {
    throw new PermissionError('CAP_NET_ADMIN is missing: run flanneld as root, or grant it the capability')
  }
}

/** Namespace and name of the pod that this process is in, where its manifest says so. */
export function podOf({ POD_NAMESPACE: namespace, POD_NAME: name }: Environment): string | undefined {
  return namespace && name ? `${namespace}/${name}` : undefined
}

export async function agentOptions(
  options: Options,
  known: Pick<AgentOptions, 'nodeId' | 'storeEndpoints'>,
  log: Logger,
): Promise<AgentOptions> {
  return {
    ...known,
    interfaceOptions: await interfaceOptions(options),
    subnetFile: options.subnetFile,
    previousSubnets: await previousSubnets(options.subnetFile, log),
    ipMasq: options.ipMasq,
    traffic: wantedTraffic(options),
    guard: guardOptions(options),
    cni: cniNetwork(options),
    resyncMs: options.iptablesResync * 1000,
    blackholeRoute: options.ipBlackholeRoute,
    protectedRanges: options.protectedCidrs,
    holdMs: options.hold * 60_000,
    drainMs: options.drain * 60_000,
    renewMarginMs: options.subnetLeaseRenewMargin * 60_000,
  }
}

export function guardOptions(options: Options): GuardOptions | undefined {
  const { ingressGuard: mode, guardAllow: allow } = options
  return mode === 'off' ? undefined : { mode, allow, instance: instanceOf(options).name }
}

/** @throws ConfigError for places that can never do */
export function cniNetwork(
  options: Pick<Options, 'cniConfFile' | 'cniNetwork' | 'cniBinDir' | 'cniPluginsFrom' | 'subnetFile'>,
): CniNetwork | undefined {
  const { cniConfFile: confFile, cniNetwork: name, cniBinDir, cniPluginsFrom, subnetFile } = options
  if (confFile !== undefined && confFile === subnetFile)
    throw new ConfigError('--cni-conf-file', 'must be another file than --subnet-file', confFile)
  if (cniPluginsFrom === cniBinDir)
    throw new ConfigError('--cni-plugins-from', 'must be another directory than --cni-bin-dir', cniPluginsFrom)
  return confFile === undefined ? undefined : { confFile, name }
}

export function wantedTraffic(options: Options): WantedTraffic {
  return {
    masquerade: options.ipMasq,
    randomFully: !options.ipMasqFullyRandomDisable,
    exempt: options.masqExempt,
    forward: options.iptablesForwardRules,
    instance: instanceOf(options).name,
  }
}

export async function interfaceOptions(options: Options): Promise<InterfaceOptions> {
  const { iface, ifaceCanReach, publicIp, publicIpv6 } = options
  // Loading the regular expressions costs as much as the rest of a start.
  const compile = options.ifaceRegex.length === 0 ? undefined : (await import('./go-regexp.ts')).compileGoRegexp
  const ifaceRegex = compile === undefined ? [] : options.ifaceRegex.map(compile)
  return { iface, ifaceRegex, ifaceCanReach, publicIp, publicIpv6 }
}

/** What the last run wrote; only a hint. */
export async function previousSubnets(path: string, log: Logger): Promise<ReadonlyMap<Family, Cidr>> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch {
    return new Map()
  }
  const parsed = parseSubnetFile(text)
  if (parsed.ok) return parsed.file.subnets
  log.warn('old subnet file not believed', { path, why: parsed.reason })
  return new Map()
}
