import { type Family, type MacAddr, parseMac } from '../../lib/address.ts'
import { InvalidLease } from '../../lib/errors.ts'
import { JsonFields } from '../../lib/json-fields.ts'

/** What a VXLAN sender must know of a node: flannel's BackendData `{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`. */
export interface Vtep {
  /** 0: any. */
  readonly vni: number
  readonly mac: MacAddr
}

export function encodeVtep(vtep: Vtep): unknown {
  return { VNI: vtep.vni, VtepMAC: vtep.mac }
}

/** Throws InvalidLease, naming the field. */
export function decodeVtep(data: unknown, path: string): Vtep {
  try {
    const fields = new JsonFields(data, path)
    // flannel before 0.14 wrote no VNI.
    const vni = fields.integer('VNI', { least: 0, most: 16777215, fallback: 0 })
    const mac = parseMac(fields.string('VtepMAC') ?? '')
    if (mac === undefined) throw new InvalidLease(`${path}.VtepMAC: must be a hardware address of six bytes`)
    if (!isUnicastMac(mac)) throw new InvalidLease(`${path}.VtepMAC: ${mac} is not a unicast address`)
    return { vni, mac }
  } catch (cause) {
    if (cause instanceof InvalidLease) throw cause
    throw new InvalidLease(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** The name by which flannel and operators know the device. */
export function vtepDevice(family: Family, vni: number): string {
  return vtepDevices(family, vni)[0]
}

/**
 * And those of further ones beside it: the kernel has several with one VNI, if their ports differ. They are no longer, so that they fit where
 * the first one does.
 */
export function vtepDevices(family: Family, vni: number): readonly [string, string, string] {
  const begin = family === 4 ? 'flannel' : 'flannel-v6'
  return [`${begin}.${vni}`, `${begin}-${vni}`, `${begin}_${vni}`]
}

/** Six random bytes, marked as locally administered and unicast. Source: IEEE 802, U/L and I/G bits. */
export function randomMac(randomBytes: (count: number) => Uint8Array): MacAddr {
  const bytes = Uint8Array.from(randomBytes(6))
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':') as MacAddr
}

export function isUnicastMac(mac: MacAddr): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== '00:00:00:00:00:00'
}
