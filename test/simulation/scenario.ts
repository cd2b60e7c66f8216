import fc from 'fast-check'
import type { Family } from '../../lib/address.ts'
import type { Underlay } from './host.ts'

type Rules = 'iptables' | 'nftables'

/** What a history begins with. */
export interface Scenario {
  readonly backend: 'vxlan' | 'direct' | 'host-gw' | 'ipip' | 'ipip direct' | 'udp' | 'alloc'
  readonly families: readonly Family[]
  /** The hosts live inside the network. */
  readonly isInside: boolean
  /** Two hosts have a second instance each: another etcd prefix, another subnet file. */
  readonly hasSecond: boolean
  readonly hasGuard: boolean
  /** `--ip-masq`, and which tool the rules are written with. */
  readonly masquerade: 'no' | Rules
  /** On the first host flannel ran before. */
  readonly hasFlannel: boolean
  /** rp_filter of devices that are made. */
  readonly reversePath: '0' | '1'
  /** Five flannels have leases. */
  readonly hasRack: boolean
  /** All daemons run before the first step. */
  readonly isRunning: boolean
  readonly seed: number
}

const anyScenario: fc.Arbitrary<Scenario> = fc.record({
  backend: fc.constantFrom(
    'vxlan',
    'vxlan',
    'vxlan',
    'direct',
    'direct',
    'host-gw',
    'ipip',
    'ipip direct',
    'udp',
    'udp',
    'alloc',
  ),
  families: fc.constantFrom<readonly Family[]>([4], [4], [4], [4, 6], [6]),
  isInside: often(1, 4),
  hasSecond: often(1, 5),
  hasGuard: often(1, 3),
  masquerade: fc.constantFrom('no', 'iptables', 'nftables'),
  hasFlannel: often(1, 4),
  reversePath: fc.constantFrom('0', '1'),
  hasRack: often(1, 3),
  isRunning: often(3, 4),
  seed: fc.nat(),
})

/** A network that its backend carries in no family is refused. */
export const scenarios = anyScenario.map((scenario): Scenario => {
  return isIpv4Only(scenario) && !scenario.families.includes(4) ? { ...scenario, families: [4] } : scenario
})

/** In which the nodes of an instance reach each other. */
export function carriedFamilies(scenario: Scenario, instance: number): readonly Family[] {
  if (instance > 0 || !isIpv4Only(scenario))
    return scenario.backend === 'alloc' && instance === 0 ? [] : scenario.families
  return [4]
}

/**
 * The device that packets leave by: flannel's name, then those that it may have where a change of the backend has begun beside another
 * device. None: the backend has no device.
 */
export function overlayDevices({ backend }: Scenario, instance: number, family: Family): readonly string[] {
  if (instance === 0 && (backend === 'host-gw' || backend === 'alloc')) return []
  if (instance === 0 && isIpv4Only({ backend }) && family === 6) return []
  if (instance === 0 && backend === 'udp') return ['flannel0', 'flannel1', 'flannel2']
  if (instance === 0 && backend.startsWith('ipip')) return ['flannel.ipip', 'flannel-ipip']
  const name = family === 4 ? 'flannel' : 'flannel-v6'
  return [`${name}.${instance + 1}`, `${name}-${instance + 1}`]
}

/** Only direct paths beside a tunnel need a setting of the uplink. */
export function needsLooseUplink({ backend }: Scenario): boolean {
  return backend === 'direct' || backend === 'ipip direct'
}

function isIpv4Only({ backend }: Pick<Scenario, 'backend'>): boolean {
  return backend.startsWith('ipip') || backend === 'udp'
}

/** Of the networks, by family: the first instance's, then the second's. */
export const NETWORKS: readonly Readonly<Record<Family, string>>[] = [
  { 4: '10.64.0.0/12', 6: 'fd00:64::/48' },
  { 4: '10.128.0.0/12', 6: 'fd00:128::/48' },
]

export function underlayOf({ isInside, families, reversePath }: Scenario): Underlay {
  // A host without IPv4 has some all the same.
  const prefixes: readonly (readonly [Family, string])[] = [
    [4, isInside ? '10.79.0.' : '192.0.2.'],
    ...(families.includes(6) ? [[6, isInside ? 'fd00:64:0:ff::' : 'fd00:1::'] as const] : []),
  ]
  return { prefixes: new Map(prefixes), reversePath }
}

/** Configurations that a history may write; the first is the good one, to which all come back. */
export function configTexts(scenario: Scenario, instance: number): readonly (string | undefined)[] {
  const { backend, families, masquerade } = scenario
  const isNft = masquerade === 'nftables'
  const network = NETWORKS[instance]
  const configIn = (enabled: readonly Family[]) => ({
    EnableIPv4: enabled.includes(4),
    ...(enabled.includes(4) ? { Network: network?.[4] } : {}),
    ...(enabled.includes(6) ? { EnableIPv6: true, IPv6Network: network?.[6], IPv6SubnetLen: 64 } : {}),
    ...(isNft && { EnableNFTables: true }),
    Backend: backendOf(backend, instance),
  })
  const config = configIn(families)
  const good = JSON.stringify(config)
  return [
    good,
    JSON.stringify(config, undefined, 2),
    JSON.stringify({ ...config, ...(families.includes(4) ? { SubnetLen: 24 } : {}) }),
    JSON.stringify({ ...config, Unknown: true }),
    '{"Network":',
    JSON.stringify({ ...config, Network: '10.64.0.0/31' }),
    JSON.stringify({ ...config, Backend: { Type: 'vxlan', VNI: -1 } }),
    undefined,
    // A second family is turned on, or off.
    JSON.stringify(configIn(otherFamilies(scenario))),
    JSON.stringify({ ...config, EnableNFTables: !isNft }),
    ...otherBackends(scenario, instance).map((Backend) => JSON.stringify({ ...config, Backend })),
  ]
}

/** Which of the configurations has other families than the scenario. */
export const OTHER_FAMILIES = 8

export function otherFamilies({ families }: Scenario): readonly Family[] {
  return families.length > 1 ? [4] : [4, 6]
}

/** Which of them has the rules of `--ip-masq` written with the other tool. */
export const OTHER_RULES = OTHER_FAMILIES + 1
/** Number of the first configuration with another backend. */
export const FIRST_OTHER = OTHER_RULES + 1
export const CONFIGS = FIRST_OTHER + 5

/** Which nodes have beside their own for a while, and from which they come back to it. */
function otherBackends(scenario: Scenario, instance: number): readonly object[] {
  // From alloc there is no way without a restart, and none back from a backend that carries a family more.
  const isStuck = scenario.backend === 'alloc' || (isIpv4Only(scenario) && scenario.families.includes(6))
  if (instance === 0 && isStuck) return []
  // One host has one device of ipip.
  const last = instance === 0 ? { Type: 'ipip' } : { Type: 'vxlan', VNI: 9 }
  const vnis = [
    { Type: 'vxlan', VNI: 7 + instance },
    { Type: 'vxlan', VNI: 5 + instance, Port: 4789 },
  ]
  return [...vnis, { Type: 'host-gw' }, last, twinOf(backendOf(scenario.backend, instance))]
}

/** With direct paths where it has none, or without them; of a backend that knows none another one. */
function twinOf(backend: object): object {
  const { Type, DirectRouting = false } = backend as { Type: string; DirectRouting?: boolean }
  if (Type !== 'vxlan' && Type !== 'ipip') return { Type: 'vxlan', VNI: 10, DirectRouting: true }
  return { ...backend, DirectRouting: !DirectRouting }
}

function backendOf(backend: Scenario['backend'], instance: number): object {
  // One host has one device of a VNI.
  if (instance > 0) return { Type: 'vxlan', VNI: 2 }
  if (backend === 'direct') return { Type: 'vxlan', DirectRouting: true }
  return backend === 'ipip direct' ? { Type: 'ipip', DirectRouting: true } : { Type: backend }
}

function often(times: number, outOf: number): fc.Arbitrary<boolean> {
  return fc.nat({ max: outOf - 1 }).map((number) => number < times)
}
