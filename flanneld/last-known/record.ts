import { type Cidr, FAMILIES, type Family, familyOf, type IpAddr, parseCidr, parseIp } from '../../lib/address.ts'
import { ConfigError, InvalidLease } from '../../lib/errors.ts'
import { FamilyMap } from '../../lib/family-map.ts'
import { JsonFields } from '../../lib/json-fields.ts'
import { leaseDocument, readLeaseDocument } from '../../subnet/lease-codec.ts'
import type { Lease, OwnLease } from '../../subnet/types.ts'

/** Which store it is, as far as a node can tell that cannot reach it. */
export interface StoreIdentity {
  readonly kind: 'etcd' | 'kubernetes'
  /** Of the keys, or of the annotations. */
  readonly prefix: string
  /** Endpoints, or certificates of the authority: two stores with none in common are two. */
  readonly marks: readonly string[]
}

/** A moment on the clocks of this host. */
export interface Moment {
  /** Milliseconds of the wall clock (UTC); it may jump. */
  readonly wall: number
  /** Of the running kernel; empty where that cannot be read. */
  readonly bootId: string
  /** Milliseconds since the kernel was started. */
  readonly uptimeMs: number
}

/** The text of a network configuration that came from the store. */
export interface KnownDocument {
  readonly text: string
  readonly origin: string
}

/** What this node knew when it last heard of the store: enough to serve the same with no store at all. */
export interface LastKnown {
  readonly written: Moment
  readonly nodeId: string
  readonly store: StoreIdentity & {
    /** Id that etcd has given itself; empty where there is none. */
    readonly cluster: string
  }
  readonly networks: ReadonlyMap<Family, Cidr>
  /** Absent: it does not come from the store, or holds a secret. */
  readonly document?: KnownDocument
  /** Public addresses that an operator had put into the store. */
  readonly given: ReadonlyMap<Family, IpAddr>
  readonly revision: string
  readonly own: OwnLease
  /** Accepted ones. */
  readonly peers: ReadonlyMap<string, Lease>
}

const VERSION = 1

/** As it stands in the file: JSON, a line per peer. */
export function recordText({ peers, own, networks, given, ...rest }: LastKnown): string {
  const { expiresAt = null, lease } = own
  const head = {
    version: VERSION,
    ...rest,
    networks: [...networks.values()],
    given: [...given.values()],
    expiresAt,
  }
  const rows = Array.from(peers.values(), leaseText).join(',\n')
  return `${JSON.stringify(head).slice(0, -1)},\n"own":${leaseText(lease)},\n"peers":[\n${rows}\n]}\n`
}

function leaseText(lease: Lease): string {
  const { id, age, reserved } = lease
  const subnets = Array.from(lease.families.values(), ({ subnet }) => subnet)
  return JSON.stringify({ id, age, ...(reserved && { reserved }), subnets, value: leaseDocument(lease) })
}

/** A peer that cannot be read is left out. @throws ConfigError, InvalidLease or SyntaxError for what is no such record */
export function parseRecord(text: string): LastKnown {
  const fields = new JsonFields(JSON.parse(text), '')
  const version = fields.raw('version')
  if (version !== VERSION) throw new ConfigError('version', `must be ${VERSION}`, version)
  const networks = byFamily(listOf(fields, 'networks').map((value) => prefixOf(value, fields.at('networks'))))
  if (networks.size === 0) throw new ConfigError('networks', 'must name a network')
  const given = listOf(fields, 'given').flatMap((value) => parseIp(String(value)) ?? [])
  const document = documentIn(fields.raw('document'))
  const expiresAt = fields.raw('expiresAt')
  const peers = listOf(fields, 'peers').flatMap((value) => readableLease(value) ?? [])
  return {
    written: momentIn(fields.raw('written')),
    nodeId: textIn(fields, 'nodeId'),
    store: storeIn(fields.raw('store')),
    networks,
    ...(document && { document }),
    given: byFamily(given),
    revision: textIn(fields, 'revision'),
    own: {
      lease: leaseIn(fields.raw('own')),
      expiresAt: expiresAt === undefined ? undefined : numberIn(fields, 'expiresAt'),
      version: '',
    },
    peers: new Map(peers.map((lease) => [lease.id, lease])),
  }
}

function readableLease(value: unknown): Lease | undefined {
  try {
    return leaseIn(value)
  } catch (cause) {
    if (cause instanceof InvalidLease || cause instanceof ConfigError) return undefined
    throw cause
  }
}

function leaseIn(value: unknown): Lease {
  const fields = new JsonFields(value, 'lease')
  const subnets = byFamily(listOf(fields, 'subnets').map((each) => prefixOf(each, fields.at('subnets'))))
  if (subnets.size === 0) throw new ConfigError(fields.at('subnets'), 'must name a subnet')
  const content = readLeaseDocument(fields.raw('value'), subnets)
  const [id, age] = [textIn(fields, 'id'), textIn(fields, 'age')]
  return { id, ...content, age, reserved: fields.boolean('reserved', false) }
}

function momentIn(value: unknown): Moment {
  const fields = new JsonFields(value, 'written')
  return {
    wall: numberIn(fields, 'wall'),
    bootId: fields.string('bootId') ?? '',
    uptimeMs: numberIn(fields, 'uptimeMs'),
  }
}

function storeIn(value: unknown): LastKnown['store'] {
  const fields = new JsonFields(value, 'store')
  const kind = fields.raw('kind')
  if (kind !== 'etcd' && kind !== 'kubernetes') throw new ConfigError(fields.at('kind'), 'must be etcd or kubernetes')
  const marks = listOf(fields, 'marks').map(String)
  return { kind, prefix: textIn(fields, 'prefix'), marks, cluster: fields.string('cluster') ?? '' }
}

function documentIn(value: unknown): KnownDocument | undefined {
  if (value === undefined) return undefined
  const fields = new JsonFields(value, 'document')
  return { text: textIn(fields, 'text'), origin: textIn(fields, 'origin') }
}

function byFamily<T extends Cidr | IpAddr>(values: readonly T[]): ReadonlyMap<Family, T> {
  return new FamilyMap(
    FAMILIES.flatMap((family) => {
      const found = values.find((value) => familyOf(value) === family)
      return found === undefined ? [] : [[family, found] as const]
    }),
  )
}

function listOf(fields: JsonFields, name: string): readonly unknown[] {
  const value = fields.raw(name)
  if (!Array.isArray(value)) throw new ConfigError(fields.at(name), 'must be a list', value)
  return value
}

function prefixOf(value: unknown, path: string): Cidr {
  const prefix = typeof value === 'string' ? parseCidr(value) : undefined
  if (prefix === undefined) throw new ConfigError(path, 'must be a prefix', value)
  return prefix
}

function textIn(fields: JsonFields, name: string): string {
  const text = fields.string(name)
  if (text === undefined) throw new ConfigError(fields.at(name), 'must be a text')
  return text
}

function numberIn(fields: JsonFields, name: string): number {
  const value = fields.raw(name)
  if (typeof value !== 'number') throw new ConfigError(fields.at(name), 'must be a number of milliseconds', value)
  return value
}
