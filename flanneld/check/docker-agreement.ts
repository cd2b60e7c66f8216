import {
  type Cidr,
  cidrOf,
  type Family,
  familyOf,
  firstHost,
  parseCidr,
  parseInterfaceCidr,
  prefixLength,
} from '../../lib/address.ts'
import type { SubnetFile } from '../state/subnet-file.ts'
import type { Condition } from '../status/status.ts'
import { type DockerOptions, optionOf } from './docker-options.ts'
import type { DockerFacts } from './facts.ts'

const USE_SCRIPT =
  'make its options by mk-docker-opts.sh and let its unit read them (EnvironmentFile=/run/docker_opts.env, $DOCKER_OPTS behind dockerd), then restart Docker'
const RESTART =
  'systemctl start flanneld-docker-options && systemctl restart docker (or mk-docker-opts.sh, and a restart of Docker)'
const DEFAULT_BRIDGE = 'docker0'
/** What Docker gives its bridge where nothing is said. */
const DEFAULT_MTU = 1500

/** As the daemon has written it, and where. */
export interface LeasedSubnet extends Pick<DockerFacts, 'subnetPath' | 'hasCni' | 'addresses'> {
  readonly file: SubnetFile
}

/**
 * Where Docker's bridge and subnet.env do not say the same, as conditions. The MTU is judged by options: the link of a bridge says
 * 1500 until a container runs. The subnet also by the bridge's address: with live-restore Docker keeps the old one, whatever its options
 * say. Pure.
 */
export function dockerDisagreements(options: DockerOptions, leased: LeasedSubnet): readonly Condition[] {
  if (optionOf(options, 'bridge') === 'none') return []
  const subnets = [...subnetDisagreements(options, leased), ...rangeDisagreements(options, leased)]
  // A Docker that has nothing to do with the overlay may have any MTU.
  if (!isOnOverlay(options, leased)) return subnets
  return [...subnets, ...mtuDisagreements(options, leased), ...masqueradeDisagreements(options, leased)]
}

function isOnOverlay(options: DockerOptions, { addresses, file }: LeasedSubnet): boolean {
  if (optionOf(options, 'bip') !== undefined) return true
  return bridgeSubnets(options, addresses).some((subnet) => [...file.subnets.values()].includes(subnet))
}

function subnetDisagreements(options: DockerOptions, { file, hasCni, addresses }: LeasedSubnet): readonly Condition[] {
  const leased = file.subnets.get(4)
  if (leased === undefined) return []
  const wanted = `${firstHost(leased)}/${prefixLength(leased)}`
  const say = (text: string, remedy: string): readonly Condition[] => [
    { code: 'docker-subnet', severity: 'warning', text, remedy },
  ]
  const bip = optionOf(options, 'bip')
  const bridge = optionOf(options, 'bridge')
  const actual = bridgeSubnets(options, addresses, 4)
  if (bip === undefined) {
    if (hasCni || actual.includes(leased)) return []
    if (bridge !== undefined && actual.length === 0) return []
    return bridge === undefined
      ? say(
          `Docker is not given the leased subnet ${leased} (no bip): its containers are not in the overlay`,
          USE_SCRIPT,
        )
      : say(
          `Docker's bridge ${bridge} has ${actual.join(', ')}, and the leased subnet is ${leased}: its containers are not in the overlay`,
          `give ${bridge} the address ${wanted}, or let Docker make its bridge by bip`,
        )
  }
  if (subnetOf(bip) !== leased)
    return say(`Docker's bip is ${bip}, and the leased subnet is ${leased} (${wanted})`, RESTART)
  if (actual.length === 0 || actual.includes(leased)) return []
  return say(
    `Docker was given the leased subnet ${leased}, and its bridge ${DEFAULT_BRIDGE} has ${actual.join(', ')}: with live-restore it keeps the old one as long as containers run`,
    'stop the containers (docker stop $(docker ps -q)), systemctl restart docker, and start them again',
  )
}

/** Of IPv6 Docker has a range for the bridge instead of an address. */
function rangeDisagreements(options: DockerOptions, { file }: LeasedSubnet): readonly Condition[] {
  const leased = file.subnets.get(6)
  const range = optionOf(options, 'fixed-cidr-v6')
  if (leased === undefined || range === undefined || parseCidr(range) === leased) return []
  const interfaceForm = parseInterfaceCidr(range)
  if (interfaceForm !== undefined && cidrOf(interfaceForm.address, interfaceForm.length) === leased) return []
  const text = `Docker's fixed-cidr-v6 is ${range}, and the leased IPv6 subnet is ${leased}`
  return [{ code: 'docker-subnet-ipv6', severity: 'warning', text, remedy: `${RESTART}; with -6 the script names it` }]
}

function mtuDisagreements(options: DockerOptions, { file, subnetPath }: LeasedSubnet): readonly Condition[] {
  const dockers = Number(optionOf(options, 'mtu') ?? DEFAULT_MTU)
  if (dockers <= file.mtu) return []
  const text = `Docker's mtu is ${dockers}, and the overlay carries ${file.mtu} bytes (${subnetPath}): large packets are lost`
  return [{ code: 'docker-mtu', severity: 'warning', text, remedy: RESTART }]
}

/** One of the two shall masquerade, and only one. */
function masqueradeDisagreements(options: DockerOptions, { file }: LeasedSubnet): readonly Condition[] {
  const isDockers = optionOf(options, 'ip-masq') !== 'false' && optionOf(options, 'iptables') !== 'false'
  if (isDockers !== file.ipMasq) return []
  const code = 'docker-masquerade'
  return isDockers
    ? [
        {
          code,
          severity: 'warning',
          text: 'both Docker and flanneld masquerade: containers see packets of other hosts come from an address of the host',
          remedy: 'give Docker --ip-masq=false, as mk-docker-opts.sh does, or start flanneld without --ip-masq',
        },
      ]
    : [
        {
          code,
          severity: 'info',
          text: 'neither Docker nor flanneld masquerades: outside of the overlay nobody answers containers, unless the network has routes to their subnets',
          remedy:
            'start flanneld with --ip-masq, or Docker without --ip-masq=false; nothing, where such routes are there',
        },
      ]
}

function bridgeSubnets(options: DockerOptions, addresses: LeasedSubnet['addresses'], family?: Family): readonly Cidr[] {
  const found = addresses.get(optionOf(options, 'bridge') ?? DEFAULT_BRIDGE) ?? []
  return found.flatMap((text) => {
    const subnet = subnetOf(text)
    return subnet === undefined || (family !== undefined && familyOf(subnet) !== family) ? [] : [subnet]
  })
}

/** Of an address with the length of its prefix. */
export function subnetOf(text: string | undefined): Cidr | undefined {
  const parsed = parseInterfaceCidr(text ?? '')
  return parsed === undefined ? undefined : cidrOf(parsed.address, parsed.length)
}
