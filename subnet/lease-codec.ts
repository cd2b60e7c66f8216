import {
  addressBits,
  type Cidr,
  cidrOf,
  FAMILIES,
  type Family,
  familyOf,
  type IpAddr,
  networkAddress,
  parseIp,
  prefixLength,
} from '../lib/address.ts'
import { ConfigError, InvalidLease, printable } from '../lib/errors.ts'
import { FamilyMap } from '../lib/family-map.ts'
import { JsonFields } from '../lib/json-fields.ts'
import type { FamilyLease, Lease, LeaseClaim, PeerPath } from './types.ts'

/** Nothing that flannel or we write comes near; it bounds what a stranger's value can cost. */
export const largestValueBytes = 16 * 1024
export const deepestValue = 8
/** Of so many refused hosts a lease tells; with more the oldest asks once more at its next start. */
export const mostRefused = 8

const keyForm = /^(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&([a-f\d:]+)-(\d+))?$/
const unspecified: Readonly<Record<Family, IpAddr>> = { 4: '0.0.0.0' as IpAddr, 6: '::' as IpAddr }

/** What a lease says beside its place in the store. */
export type LeaseContent = Pick<Lease, 'node' | 'primary' | 'accepts' | 'sends' | 'families' | 'claim' | 'refused'> & {
  /** Revision of the store at which its first key was made, where it has got another one since. */
  readonly since?: string | undefined
}
type Subnets = ReadonlyMap<Family, Cidr>

/** `10.5.52.0-24`, `10.5.52.0-24&fc00:0:0:1::-64`, or `0.0.0.0-0&fc00:0:0:1::-64` for IPv6 alone (flannel, subnet.MakeSubnetKey). */
export function encodeLeaseKey(subnets: Subnets): string {
  const v4 = subnets.get(4)
  const v6 = subnets.get(6)
  const first = v4 === undefined ? '0.0.0.0-0' : keyPart(v4)
  return v6 === undefined ? first : `${first}&${keyPart(v6)}`
}

function keyPart(cidr: Cidr): string {
  return `${networkAddress(cidr)}-${prefixLength(cidr)}`
}

/**
 * The subnets that a key names; undefined where it is no lease's key at all.
 * @throws InvalidLease where it looks like one, but names no aligned subnet
 */
export function decodeLeaseKey(id: string): Subnets | undefined {
  const match = keyForm.exec(id)
  if (match === null) return undefined
  const subnets = new Map<Family, Cidr>()
  for (const [address, length] of [match.slice(1, 3), match.slice(3, 5)]) {
    if (address === undefined || length === undefined || `${address}-${length}` === '0.0.0.0-0') continue
    const cidr = decodeKeyPart(address, length)
    subnets.set(familyOf(cidr), cidr)
  }
  if (subnets.size === 0) throw new InvalidLease('the key names no subnet')
  return subnets
}

function decodeKeyPart(text: string, lengthText: string): Cidr {
  const address = parseIp(text)
  if (address === undefined) throw new InvalidLease(`the key's ${printable(text)} is no address`)
  const length = Number(lengthText)
  const longest = addressBits(familyOf(address)) - 1
  if (String(length) !== lengthText || length > longest) {
    throw new InvalidLease(`the key's length ${printable(lengthText)} is not one from 0 to ${longest}`)
  }
  const cidr = cidrOf(address, length)
  if (networkAddress(cidr) !== address) throw new InvalidLease(`the key's ${text}/${length} has host bits set`)
  return cidr
}

/** The value as flannel writes it (Go's JSON: this order of keys, no spaces), ours after its own. */
export function encodeLeaseValue(content: LeaseContent): string {
  return goJson(leaseDocument(content))
}

/** The same before it is text. */
export function leaseDocument(content: LeaseContent): object {
  const v4 = content.families.get(4)
  const v6 = content.families.get(6)
  return {
    PublicIP: v4?.publicIp ?? unspecified[4],
    PublicIPv6: v6?.publicIp ?? null,
    ...flannelsFields(content.primary),
    NodeID: content.node || undefined,
    Accepts: content.accepts.length === 0 ? undefined : content.accepts.map(pathFields),
    Sends: content.sends?.length ? content.sends.map(pathFields) : undefined,
    TunnelIP: v4?.tunnelIp,
    TunnelIPv6: v6?.tunnelIp,
    Claim: content.claim && claimFields(content.claim),
    Refused: content.refused?.length ? content.refused : undefined,
    Since: content.since,
  }
}

/** The holder's value with a claim in it, everything else as it stands there. @throws InvalidLease */
export function withClaim(value: Uint8Array, claim: LeaseClaim): string {
  const document = parseJson(Buffer.from(value).toString())
  if (typeof document !== 'object' || document === null) throw new InvalidLease('the value is no JSON object')
  const kept = Object.entries(document).filter(([key]) => key.toLowerCase() !== 'claim')
  return goJson({ ...Object.fromEntries(kept), Claim: claimFields(claim) })
}

function claimFields({ node, nonce }: LeaseClaim): object {
  return { NodeID: node, Nonce: nonce }
}

/** As Go writes JSON. */
export function goJson(document: unknown): string {
  // Go escapes these in strings, and outside of strings they cannot occur.
  return JSON.stringify(document).replace(/[<>&\u2028\u2029]/g, goEscape)
}

function goEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** As it stands in `Accepts` and `Sends`. */
export function pathFields(path: PeerPath): object {
  return { ...flannelsFields(path), Port: path.port, Direct: path.direct }
}

function flannelsFields({ backend, data }: PeerPath): object {
  return {
    BackendType: backend || undefined,
    BackendData: data.get(4) ?? undefined,
    BackendV6Data: data.get(6) ?? undefined,
  }
}

/**
 * What the value says about a lease of these subnets. A public address that is not given reads as unspecified (`0.0.0.0`),
 * as for flannel: a reservation in a dual stack network may name the IPv4 address only.
 * @throws InvalidLease and nothing else
 */
export function decodeLeaseValue(value: Uint8Array | string, subnets: Subnets): LeaseContent {
  const bytes = typeof value === 'string' ? Buffer.byteLength(value) : value.length
  if (bytes > largestValueBytes) throw new InvalidLease(`the value has ${bytes} bytes, more than ${largestValueBytes}`)
  const text = typeof value === 'string' ? value : Buffer.from(value.buffer, value.byteOffset, bytes).toString()
  return readLeaseDocument(parseJson(text), subnets)
}

/** As `decodeLeaseValue`, of the parsed value. @throws InvalidLease and nothing else */
export function readLeaseDocument(document: unknown, subnets: Subnets): LeaseContent {
  checkShape(document, 1)
  try {
    return readContent(new JsonFields(document, ''), subnets)
  } catch (cause) {
    if (cause instanceof ConfigError) throw new InvalidLease(cause.message, { cause })
    throw cause
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new InvalidLease(`the value is no JSON: ${printable(text)}`, { cause })
  }
}

function checkShape(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) return
  if (depth > deepestValue) throw new InvalidLease(`the value is nested deeper than ${deepestValue}`)
  if (Object.hasOwn(value, '__proto__')) throw new InvalidLease('the value has a key __proto__')
  for (const item of Object.values(value)) checkShape(item, depth + 1)
}

function readContent(fields: JsonFields, subnets: Subnets): LeaseContent {
  const families: [Family, FamilyLease][] = []
  for (const family of FAMILIES) {
    const suffix = family === 4 ? '' : 'v6'
    const publicIp = addressField(fields, `PublicIP${suffix}`, family)
    const tunnelIp = addressField(fields, `TunnelIP${suffix}`, family)
    const subnet = subnets.get(family)
    if (subnet === undefined) continue
    const part = { subnet, publicIp: publicIp ?? unspecified[family], ...(tunnelIp === undefined ? {} : { tunnelIp }) }
    families.push([family, part])
  }
  const claim = readClaim(fields.raw('Claim'))
  const refused = readRefused(fields.raw('Refused'))
  const sends = readPaths(fields, 'Sends')
  const since = readSince(fields.raw('Since'))
  return {
    node: fields.string('NodeID') ?? '',
    primary: readPath(fields),
    accepts: readPaths(fields, 'Accepts'),
    families: new FamilyMap(families),
    // Thousands of leases have none of these, and shall have no room for them.
    ...(sends.length === 0 ? {} : { sends }),
    ...(claim === undefined ? {} : { claim }),
    ...(refused.length === 0 ? {} : { refused }),
    ...(since === undefined ? {} : { since }),
  }
}

// What is no claim and no refusal is left out: whoever wrote it, the holder's lease stays one that peers can use.
function readClaim(value: unknown): LeaseClaim | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const fields = new JsonFields(value, 'Claim')
  const [node, nonce] = [fields.raw('NodeID'), fields.raw('Nonce')]
  return isWord(node) && isWord(nonce) ? { node, nonce } : undefined
}

function readRefused(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter(isWord).slice(-mostRefused) : []
}

function readSince(value: unknown): string | undefined {
  return typeof value === 'string' && /^[1-9]\d{0,18}$/.test(value) ? value : undefined
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 64
}

function addressField(fields: JsonFields, name: string, family: Family): IpAddr | undefined {
  const text = fields.string(name)
  if (text === undefined) return undefined
  const address = parseIp(text)
  if (address === undefined || familyOf(address) !== family) {
    throw new ConfigError(fields.at(name), `must be an IPv${family} address`, text)
  }
  return address
}

const NOTHING: readonly PeerPath[] = []

function readPaths(fields: JsonFields, name: 'Accepts' | 'Sends'): readonly PeerPath[] {
  const list = fields.raw(name)
  if (list === undefined) return NOTHING
  if (!Array.isArray(list)) throw new ConfigError(fields.at(name), 'must be an array', list)
  return list.map((item, index) => {
    const said = new JsonFields(item, `${name}[${index}]`)
    const port = said.integer('Port', { least: 0, most: 65535, fallback: 0 })
    const direct = said.boolean('Direct', false)
    return { ...readPath(said), ...(port === 0 ? {} : { port }), ...(direct && { direct }) }
  })
}

function readPath(fields: JsonFields): PeerPath {
  const data = new FamilyMap<unknown>([
    [4, fields.raw('BackendData')],
    [6, fields.raw('BackendV6Data')],
  ])
  return { backend: fields.string('BackendType') ?? '', data }
}
