import { type Cidr, FAMILIES, type Family, familyOf, type IpAddr, parseIp } from '../../lib/address.ts'
import { InvalidLease, printable } from '../../lib/errors.ts'
import { type LeaseContent, largestValueBytes, readLeaseDocument } from '../lease-codec.ts'
import type { Lease, PeerPath, RejectedLease } from '../types.ts'
import type { AnnotationNames } from './annotations.ts'
import type { NodeFacts } from './node.ts'

/**
 * What a Node says as a lease: its podCIDRs and annotations. Undefined: nobody manages its network by such annotations.
 * A family counts where the Node has both a podCIDR and a public address of it.
 */
export function nodeLease(node: NodeFacts, names: AnnotationNames): Lease | RejectedLease | undefined {
  const { name, annotations, age } = node
  if (annotations.get(names.managed) !== 'true') return undefined
  if (node.subnets.size === 0) return { id: name, reason: 'no-pod-cidr', text: 'the Node has no podCIDR yet' }
  try {
    const subnets = new Map<Family, Cidr>()
    for (const [family, subnet] of node.subnets) {
      if (isGiven(annotations.get(names.families[family].publicIp))) subnets.set(family, subnet)
    }
    if (subnets.size === 0) {
      const text = 'the Node has no annotation with its public address in a family of its podCIDRs'
      return { id: name, reason: 'no-public-ip', text }
    }
    const said = withoutLeftovers(readLeaseDocument(documentOf(annotations, names), subnets))
    return { id: name, ...said, age, reserved: false }
  } catch (cause) {
    if (cause instanceof InvalidLease) return { id: name, reason: 'unreadable', text: cause.message }
    throw cause
  }
}

/**
 * flannel writes its own annotations and leaves ours: where another way than the first one that we accepted stands there, what we said is
 * over.
 */
function withoutLeftovers(said: LeaseContent): LeaseContent {
  const [first] = said.accepts
  if (first === undefined || isSamePath(first, said.primary)) return said
  const { sends: _sends, ...others } = said
  return { ...others, node: '', accepts: [] }
}

function isSamePath(a: PeerPath, b: PeerPath): boolean {
  const differs = (family: Family) => {
    const [one, other] = [a.data.get(family) ?? undefined, b.data.get(family) ?? undefined]
    return one !== undefined && other !== undefined && JSON.stringify(one) !== JSON.stringify(other)
  }
  return a.backend === b.backend && !FAMILIES.some(differs)
}

/** In the words of flannel's value in etcd, so that one codec judges both. @throws InvalidLease */
function documentOf(annotations: ReadonlyMap<string, string>, names: AnnotationNames): object {
  const size = [...annotations.values()].reduce((sum, text) => sum + text.length, 0)
  if (size > largestValueBytes) {
    throw new InvalidLease(`the annotations have ${size} characters, more than ${largestValueBytes}`)
  }
  const document: Record<string, unknown> = {
    BackendType: annotations.get(names.backendType),
    NodeID: annotations.get(names.nodeId),
    Accepts: jsonIn(annotations, names.accepts),
    Sends: jsonIn(annotations, names.sends),
  }
  for (const family of FAMILIES) {
    const { data, publicIp, tunnelIp } = names.families[family]
    document[family === 4 ? 'BackendData' : 'BackendV6Data'] = jsonIn(annotations, data)
    const suffix = family === 4 ? '' : 'v6'
    const address = annotations.get(publicIp)
    document[`PublicIP${suffix}`] = isGiven(address) ? address : undefined
    document[`TunnelIP${suffix}`] = annotations.get(tunnelIp)
  }
  return document
}

// flannel writes 0.0.0.0 where there is none.
function isGiven(address: string | undefined): address is string {
  return address !== undefined && address !== '' && address !== '0.0.0.0' && address !== '::'
}

function jsonIn(annotations: ReadonlyMap<string, string>, name: string): unknown {
  const text = annotations.get(name) ?? ''
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new InvalidLease(`annotation ${name} is no JSON: ${printable(text)}`, { cause })
  }
}

/** An address that an operator has put into this annotation. */
export function addressIn(node: NodeFacts, annotation: string, family: Family): IpAddr | undefined {
  const address = parseIp(node.annotations.get(annotation) ?? '')
  return address !== undefined && familyOf(address) === family ? address : undefined
}
