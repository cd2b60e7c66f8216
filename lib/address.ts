import { isIPv4, isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'

export type Family = 4 | 6

/** One address as canonical text (RFC 5952 for IPv6), so that `===` and Map keys work. */
export type IpAddr = string & { readonly brand: 'IpAddr' }

/** An aligned prefix as canonical text, `10.5.72.0/24`: host bits are clear. */
export type Cidr = string & { readonly brand: 'Cidr' }

/** A hardware address of six bytes, lower case with colons. */
export type MacAddr = string & { readonly brand: 'MacAddr' }

export const FAMILIES: readonly Family[] = [4, 6]

/** Bits of an address of the family. */
export function addressBits(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128
}

/** The address, or undefined for anything else, `010.0.0.1` and zones included. */
export function parseIp(text: string): IpAddr | undefined {
  if (isIPv4(text)) return text as IpAddr
  // The library alone would take zones and leading zeros that other programs refuse.
  if (!isIPv6(text) || text.includes('%')) return undefined
  return bytesToIp(ipv6Bytes(text))
}

/** The aligned prefix; undefined for anything else. Host bits are dropped: use `parseInterfaceCidr` to keep them. */
export function parseCidr(text: string): Cidr | undefined {
  const parsed = parseInterfaceCidr(text)
  return parsed && cidrOf(parsed.address, parsed.length)
}

/** `10.5.72.1/24` as address and length, host bits kept. */
export function parseInterfaceCidr(text: string): { address: IpAddr; length: number } | undefined {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text)
  const address = match?.[1] === undefined ? undefined : parseIp(match[1])
  const length = Number(match?.[2])
  if (address === undefined || length > addressBits(familyOf(address))) return undefined
  return { address, length }
}

export function parseMac(text: string): MacAddr | undefined {
  return /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text) ? (text.toLowerCase() as MacAddr) : undefined
}

export function familyOf(address: IpAddr | Cidr): Family {
  return address.includes(':') ? 6 : 4
}

/** The prefix of `length` bits that holds the address. */
export function cidrOf(address: IpAddr, length: number): Cidr {
  const family = familyOf(address)
  const bits = addressBits(family)
  if (length === bits) return `${address}/${length}` as Cidr
  if (family === 4) {
    const value = ipv4ToInteger(address)
    return `${integerToIpv4(value - (value % 2 ** (bits - length)))}/${length}` as Cidr
  }
  const shift = BigInt(bits - length)
  return `${ipFromNumber(family, (ipToNumber(address) >> shift) << shift)}/${length}` as Cidr
}

/** The first address of the prefix, which names the network. */
export function networkAddress(cidr: Cidr): IpAddr {
  return cidr.slice(0, cidr.indexOf('/')) as IpAddr
}

export function prefixLength(cidr: Cidr): number {
  return Number(cidr.slice(cidr.indexOf('/') + 1))
}

/** Network address plus one: the gateway on the host. */
export function firstHost(cidr: Cidr): IpAddr {
  return ipFromNumber(familyOf(cidr), ipToNumber(networkAddress(cidr)) + 1n)
}

export function contains(outer: Cidr, inner: IpAddr | Cidr): boolean {
  if (familyOf(outer) !== familyOf(inner)) return false
  const [address, length] = inner.includes('/')
    ? [networkAddress(inner as Cidr), prefixLength(inner as Cidr)]
    : [inner as IpAddr, addressBits(familyOf(inner))]
  if (length < prefixLength(outer)) return false
  const bits = addressBits(familyOf(outer)) - prefixLength(outer)
  if (familyOf(outer) === 4) {
    // Thousands are compared on a change, and BigInt is ten times slower.
    const first = ipv4ToInteger(networkAddress(outer))
    const value = ipv4ToInteger(address)
    return value >= first && value < first + 2 ** bits
  }
  const shift = BigInt(bits)
  return ipToNumber(address) >> shift === ipToNumber(networkAddress(outer)) >> shift
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return contains(a, b) || contains(b, a)
}

export function ipToNumber(address: IpAddr): bigint {
  return familyOf(address) === 4 ? BigInt(ipv4ToInteger(address)) : bytesToNumber(ipv6Bytes(address))
}

export function ipFromNumber(family: Family, value: bigint): IpAddr {
  if (family === 4) return integerToIpv4(Number(value))
  const bytes = Buffer.from(value.toString(16).padStart(32, '0'), 'hex')
  return bytesToIp(bytes)
}

/** Network byte order: 4 or 16 bytes. */
export function ipToBytes(address: IpAddr): Uint8Array {
  if (familyOf(address) === 6) return ipv6Bytes(address)
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, ipv4ToInteger(address))
  return bytes
}

/** From network byte order; 4 or 16 bytes, else a RangeError. */
export function bytesToIp(bytes: Uint8Array): IpAddr {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` as IpAddr
  if (bytes.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`)
  return formatIpv6(bytes)
}

const OCTETS = /^(\d+)\.(\d+)\.(\d+)\.(\d+)/

/** The 32 bits of an IPv4 address as a number from 0; for the places where thousands are compared and BigInt is too slow. */
export function ipv4ToInteger(address: IpAddr): number {
  const [, first, second, third, fourth] = OCTETS.exec(address) ?? []
  return Number(first) * 2 ** 24 + Number(second) * 2 ** 16 + Number(third) * 2 ** 8 + Number(fourth)
}

function integerToIpv4(value: number): IpAddr {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}` as IpAddr
}

function ipv6Bytes(text: string): Uint8Array {
  return Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray())
}

function bytesToNumber(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

// RFC 5952: lower case, no leading zeros, the longest run of at least two zero groups (the first of equals) shortened.
function formatIpv6(bytes: Uint8Array): IpAddr {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16)
  const groups = Array.from({ length: 8 }, (_unused, index) => view.getUint16(index * 2))
  let best = { start: -1, length: 1 }
  for (let start = 0; start < 8; start += 1) {
    let end = start
    while (end < 8 && groups[end] === 0) end += 1
    if (end - start > best.length) best = { start, length: end - start }
    if (end > start) start = end
  }
  const hex = groups.map((group) => group.toString(16))
  if (best.start < 0) return hex.join(':') as IpAddr
  return `${hex.slice(0, best.start).join(':')}::${hex.slice(best.start + best.length).join(':')}` as IpAddr
}

/** An address as a prefix of all its bits. */
export function hostCidr(address: IpAddr): Cidr {
  return `${address}/${addressBits(familyOf(address))}` as Cidr
}
