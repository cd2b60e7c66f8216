import type { Cidr, IpAddr } from '../lib/address.ts'
import { firstHost, prefixLength } from '../lib/address.ts'
import { nthAddress } from './layout.ts'
import { Namespace } from './namespace.ts'
import type { SubnetEnv } from './subnet-env.ts'

/** A network namespace behind the `cni0` bridge of its host. */
export class Container extends Namespace {
  /** As the caller named it; `name` is the namespace's. */
  readonly label: string
  /** One per family, IPv4 first. */
  readonly addresses: readonly IpAddr[]

  constructor(
    needs: { labId: string; signal: AbortSignal },
    options: { name: string; label: string; addresses: readonly IpAddr[] },
  ) {
    super(needs, options)
    this.label = options.label
    this.addresses = options.addresses
  }

  /** The first address: IPv4 where there is one. */
  get address(): IpAddr {
    const [first] = this.addresses
    if (first === undefined) throw new Error(`container ${this.label} has no address`)
    return first
  }
}

export const bridge = 'cni0'

/**
 * Lines for `ip -batch` that make the bridge as CNI's `bridge` plugin does with isGateway: it has the first address of
 * each subnet, and keeps its own MAC, which would otherwise change to the lowest of its ports as containers come and go.
 */
export function bridgeLines(env: SubnetEnv, mac: string): readonly string[] {
  return [`link add ${bridge} address ${mac} mtu ${env.mtu} type bridge`]
}

export function bridgeAddressLines(env: SubnetEnv): readonly string[] {
  return [
    `link set ${bridge} up`,
    ...env.families.map(({ gateway }) => `addr add ${gateway} dev ${bridge}${noDad(gateway)}`),
  ]
}

/** A veth pair into the container's namespace; the host's end is a bridge port in hairpin mode. */
export function portLines(env: SubnetEnv, namespace: string, port: string): readonly string[] {
  return [
    `link add ${port} mtu ${env.mtu} type veth peer name eth0 mtu ${env.mtu} netns ${namespace}`,
    `link set ${port} master ${bridge}`,
    `link set ${port} type bridge_slave hairpin on`,
    `link set ${port} up`,
  ]
}

/** Inside the container: addresses, a default route by the gateway, and the route to the network that the flannel plugin asks for. */
export function containerLines(env: SubnetEnv, addresses: readonly IpAddr[]): readonly string[] {
  return [
    'link set lo up',
    'link set eth0 up',
    ...env.families.flatMap(({ network, subnet }, index) => [
      `addr add ${addresses[index]}/${prefixLength(subnet)} dev eth0${noDad(subnet)}`,
      `route add default via ${firstHost(subnet)}`,
      `route add ${network} via ${firstHost(subnet)}`,
    ]),
  ]
}

/** As host-local hands them out: container number 0 has the address after the gateway's. */
export function containerAddresses(env: SubnetEnv, number: number): readonly IpAddr[] {
  return env.families.map(({ subnet }) => nthAddress(subnet as Cidr, number + 2))
}

/** With hairpin mode a bridge returns a container's own question, which then takes its address for a duplicate: CNI turns it off, too. */
export function noDuplicates(device: string): Readonly<Record<string, number>> {
  return { [`net/ipv6/conf/${device}/accept_dad`]: 0 }
}

// Duplicate address detection would keep an IPv6 address unusable for a second.
function noDad(address: string): string {
  return address.includes(':') ? ' nodad' : ''
}
