import { type Cidr, contains, FAMILIES, type Family, type IpAddr } from '../../lib/address.ts'
import { FamilyMap } from '../../lib/family-map.ts'
import { goJson, pathFields } from '../lease-codec.ts'
import type { NetworkConfig } from '../network-config.ts'
import type { FamilyLease, Lease, LeaseAttrs, LeaseWait, PeerPath } from '../types.ts'
import type { AnnotationNames } from './annotations.ts'
import type { NodeFacts } from './node.ts'
import { addressIn } from './node-lease.ts'

/** Pure: what this node's own lease is, and what its annotations have to say for it. */

export type OwnNode =
  | { readonly at: 'waiting'; readonly wait: LeaseWait }
  | {
      readonly at: 'known'
      readonly lease: Lease
      /** Why it has no subnet in some family of the network. */
      readonly lacks?: LeaseWait
      /** What differs from the annotations as they stand; null: to be removed. */
      readonly patch: Readonly<Record<string, string | null>>
    }

export function ownNode(
  node: NodeFacts,
  want: LeaseAttrs,
  {
    network,
    names,
    origin,
    has,
  }: {
    readonly network: NetworkConfig
    readonly names: AnnotationNames
    readonly origin: string
    /** Families in which this node has a subnet already: they go on while another one cannot be had. */
    readonly has: readonly Family[]
  },
): OwnNode {
  const subnets = new Map<Family, Cidr>()
  let lacks: LeaseWait | undefined
  for (const [family, { network: whole }] of network.families) {
    const subnet = node.subnets.get(family)
    if (subnet === undefined) lacks ??= noPodCidr(node, family)
    else if (contains(whole, subnet)) subnets.set(family, subnet)
    else lacks ??= outside(node, subnet, { whole, family, origin })
  }
  if (lacks !== undefined && !has.some((family) => subnets.has(family))) return { at: 'waiting', wait: lacks }
  const parts = FAMILIES.flatMap((family) => {
    const [subnet, address] = [subnets.get(family), want.publicIps.get(family)]
    if (subnet === undefined || address === undefined) return []
    return [
      [
        family,
        partOf(subnet, address, want.tunnelIps.get(family), addressIn(node, names.families[family].overwrite, family)),
      ] as const,
    ]
  })
  const { name: id, age } = node
  const [primary, accepts] = [asRead(want.primary), want.accepts.map(asRead)]
  const sends = want.sends?.length ? { sends: want.sends.map(asRead) } : {}
  const lease = {
    id,
    node: want.node,
    primary,
    accepts,
    ...sends,
    families: new FamilyMap(parts),
    age,
    reserved: false,
  }
  const patch: Record<string, string | null> = {}
  for (const [name, wanted] of annotationsOf(lease, names)) {
    if ((node.annotations.get(name) ?? null) !== wanted) patch[name] = wanted
  }
  return { at: 'known', lease, patch, ...(lacks && { lacks }) }
}

function asRead(path: PeerPath): PeerPath {
  return { ...path, data: new FamilyMap(path.data) }
}

// Packets come from the node's own address all the same.
function partOf(
  subnet: Cidr,
  address: IpAddr,
  tunnelIp: IpAddr | undefined,
  overwrite: IpAddr | undefined,
): FamilyLease {
  const isOverwritten = overwrite !== undefined && overwrite !== address
  const source = tunnelIp ?? (isOverwritten ? address : undefined)
  return { subnet, publicIp: overwrite ?? address, ...(source !== undefined && { tunnelIp: source }) }
}

/** All that are ours to write, in flannel's form (compatibility contract §4); null: it must not stand there. */
function annotationsOf(lease: Lease, names: AnnotationNames): ReadonlyMap<string, string | null> {
  const { primary, accepts, sends = [], families, node } = lease
  const annotations = new Map<string, string | null>([
    [names.backendType, primary.backend],
    [names.managed, 'true'],
    [names.nodeId, node === '' ? null : node],
    [names.accepts, pathsText(accepts)],
    [names.sends, pathsText(sends)],
  ])
  for (const family of FAMILIES) {
    const { data, publicIp, tunnelIp } = names.families[family]
    const part = families.get(family)
    const isSaid = part === undefined ? isNothingSaid(primary, family) : saysFamily(primary, family)
    annotations.set(data, isSaid ? dataText(primary, part && family) : null)
    annotations.set(publicIp, isSaid ? (part?.publicIp ?? '0.0.0.0') : null)
    annotations.set(tunnelIp, (isSaid && part?.tunnelIp) || null)
  }
  return annotations
}

function pathsText(paths: readonly PeerPath[]): string | null {
  return paths.length === 0 ? null : goJson(paths.map(pathFields))
}

/** Without IPv4 flannel's backends say that there is none; vxlan's leaves it out. */
function isNothingSaid({ backend }: PeerPath, family: Family): boolean {
  return family === 4 && backend !== 'vxlan'
}

/** These carry IPv4 only, and flannel never writes of them what is of IPv6. */
function saysFamily({ backend }: PeerPath, family: Family): boolean {
  return family === 4 || !['', 'ipip'].includes(backend)
}

function dataText({ backend, data }: PeerPath, family: Family | undefined): string {
  const said = family && data.get(family)
  if (said !== undefined) return goJson(said)
  return backend === 'extension' && family === 4 ? '' : 'null'
}

function noPodCidr({ name, subnets }: NodeFacts, family: Family): LeaseWait {
  const isNone = subnets.size === 0
  return {
    text: `Node ${name} has ${isNone ? 'no podCIDR' : `no IPv${family} podCIDR`} yet`,
    remedy: `${isNone ? '' : 'the podCIDRs of a Node cannot be changed: give kube-controller-manager a --cluster-cidr of both families, then drain and delete the Node and let the kubelet register it again. Else '}it is waited for: start kube-controller-manager with --allocate-node-cidrs=true and --cluster-cidr, or set spec.podCIDR (podCIDRs for two families) of the Node`,
  }
}

function outside(
  { name }: NodeFacts,
  subnet: Cidr,
  { whole, family, origin }: { readonly whole: Cidr; readonly family: Family; readonly origin: string },
): LeaseWait {
  const key = family === 4 ? 'Network' : 'IPv6Network'
  return {
    text: `podCIDR ${subnet} of Node ${name} does not lie inside ${key} ${whole} of ${origin}`,
    remedy: `make ${key} in the ConfigMap (kube-flannel-cfg, net-conf.json) the --cluster-cidr of kube-controller-manager and restart flanneld, or give the Node a podCIDR inside ${whole}`,
  }
}
