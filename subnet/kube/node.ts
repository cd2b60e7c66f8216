import { type Cidr, type Family, familyOf, parseCidr } from '../../lib/address.ts'
import { InvalidLease } from '../../lib/errors.ts'

/** What is read of a Node object; the object itself is not kept. */
export interface NodeFacts {
  readonly name: string
  readonly version: string
  /** Text of equal length for all: its standing, creation time, then uid. One that is being deleted, or whose kubelet is silent, is younger than all that are neither. */
  readonly age: string
  /** At most one of each family. */
  readonly subnets: ReadonlyMap<Family, Cidr>
  /** Those below the prefix. */
  readonly annotations: ReadonlyMap<string, string>
  /** The status of the condition NetworkUnavailable; undefined: there is none. */
  readonly networkUnavailable: string | undefined
}

/** A state of a Node that is not read yet. */
export interface NodeState {
  readonly name: string
  readonly version: string
  /** Where it is the same, `readNode` says the same but for the version and the condition. */
  readonly text: string
}

/**
 * Nearly all that a watch tells of is heartbeats: this costs a small part of what reading a Node and its lease does.
 * @throws InvalidLease for what is no Node object
 */
export function nodeState(object: unknown, prefix: string): NodeState {
  const { metadata, spec, status } = fieldsOf(object)
  const { annotations } = fieldsOf(metadata)
  const { podCIDRs, podCIDR } = fieldsOf(spec)
  const said: unknown[] = [ageOf(metadata, status), podCIDRs, podCIDR]
  const all = fieldsOf(annotations)
  // Object.entries would make an array for each of those that are not ours, too.
  for (const key in all) if (key.startsWith(prefix)) said.push(key.slice(prefix.length), all[key])
  return { ...identityOf(metadata), text: JSON.stringify(said) }
}

/** @throws InvalidLease for what is no Node object */
export function readNode(object: unknown, prefix: string): NodeFacts {
  const { metadata, spec, status } = fieldsOf(object)
  const { annotations } = fieldsOf(metadata)
  const kept = Object.entries(fieldsOf(annotations)).filter(
    (entry): entry is [string, string] => entry[0].startsWith(prefix) && typeof entry[1] === 'string',
  )
  return {
    ...identityOf(metadata),
    age: ageOf(metadata, status),
    subnets: subnetsIn(fieldsOf(spec)),
    annotations: new Map(kept),
    networkUnavailable: conditionIn(status, 'NetworkUnavailable'),
  }
}

/** The resource version of what a bookmark holds. */
export function versionOf(object: unknown): string | undefined {
  const { resourceVersion } = fieldsOf(fieldsOf(object)['metadata'])
  return typeof resourceVersion === 'string' && resourceVersion !== '' ? resourceVersion : undefined
}

/** The fields of an object from outside; of anything else none. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

function identityOf(metadata: unknown): { name: string; version: string } {
  const { name, resourceVersion } = fieldsOf(metadata)
  if (typeof name !== 'string' || name === '' || typeof resourceVersion !== 'string') {
    throw new InvalidLease('it is no Node with a name and a resource version')
  }
  return { name, version: resourceVersion }
}

/**
 * A finalizer can keep a deleted Node for long (Karpenter's, while it drains), and its podCIDR is given away all the same; the Node of a machine
 * that is gone stays where nobody deletes it, and its address is given to the next. Either is a peer, but what another one has as well is the other's.
 */
function ageOf(metadata: unknown, status: unknown): string {
  const { creationTimestamp, deletionTimestamp, uid } = fieldsOf(metadata)
  // The controller manager says so when it has not heard of the kubelet for some 50 s.
  const isSilent = () => conditionIn(status, 'Ready') === 'Unknown'
  const standing = deletionTimestamp !== undefined ? '2' : isSilent() ? '1' : '0'
  const created = deletionTimestamp === undefined ? String(creationTimestamp ?? '') : ''
  // V8 keeps the parts of a concatenation beside the result, but not those of a join: there are thousands of these texts.
  return [standing, created.padEnd(20), String(uid ?? '')].join('')
}

function subnetsIn({ podCIDRs, podCIDR }: Readonly<Record<string, unknown>>): ReadonlyMap<Family, Cidr> {
  const texts = Array.isArray(podCIDRs) && podCIDRs.length > 0 ? podCIDRs : [podCIDR]
  const subnets = new Map<Family, Cidr>()
  for (const text of texts) {
    const cidr = typeof text === 'string' ? parseCidr(text) : undefined
    if (cidr !== undefined && !subnets.has(familyOf(cidr))) subnets.set(familyOf(cidr), cidr)
  }
  return subnets
}

function conditionIn(status: unknown, wanted: string): string | undefined {
  const { conditions } = fieldsOf(status)
  if (!Array.isArray(conditions)) return undefined
  // A loop: this is done for each heartbeat.
  for (const condition of conditions) {
    const { type, status: said } = fieldsOf(condition)
    if (type === wanted) return typeof said === 'string' ? said : undefined
  }
  return undefined
}
