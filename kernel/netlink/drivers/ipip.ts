import type { FouEncapsulation, IpipDriver } from '../../kinds/link/drivers/ipip.ts'
import { AttributeTable, type MessageWriter } from '../attributes.ts'
import { type DriverCodec, IFLA_INFO_DATA } from './driver-codec.ts'

// linux/if_tunnel.h, IFLA_IPTUN_*
const IPTUN_LINK = 1
const IPTUN_LOCAL = 2
const IPTUN_REMOTE = 3
const IPTUN_TTL = 4
const IPTUN_TOS = 5
const IPTUN_PROTO = 9
const IPTUN_PMTUDISC = 10
const IPTUN_ENCAP_TYPE = 15
const IPTUN_ENCAP_FLAGS = 16
const IPTUN_ENCAP_SPORT = 17
const IPTUN_ENCAP_DPORT = 18
const IPTUN_FWMARK = 20
/** enum tunnel_encap_types */
const ENCAP_NONE = 0
const ENCAP_FOU = 1

const attributes = new AttributeTable(IPTUN_FWMARK)

/** `type ipip local IP dev UNDERLAY ttl N [no]pmtudisc [encap fou encap-sport PORT encap-dport PORT]` */
export const ipipCodec: DriverCodec<IpipDriver> = {
  type: 'ipip',
  putNew: putAll,
  // The kernel takes what is not said for zero: a change says everything.
  putLive: putAll,
  read(info) {
    const data = attributes.readNested(info, IFLA_INFO_DATA)
    const local = data.specifiedAddress(IPTUN_LOCAL)
    const remote = data.specifiedAddress(IPTUN_REMOTE)
    const encapsulation = encapsulationOf(data)
    return {
      driver: {
        type: 'ipip',
        ...(local === undefined ? {} : { local }),
        ...(remote === undefined ? {} : { remote }),
        ttl: data.has(IPTUN_TTL) ? data.u8(IPTUN_TTL) : 0,
        pathMtuDiscovery: data.has(IPTUN_PMTUDISC) && data.u8(IPTUN_PMTUDISC) !== 0,
        ...(encapsulation === undefined ? {} : { encapsulation }),
      },
      underlayIndex: data.has(IPTUN_LINK) ? data.u32(IPTUN_LINK) : 0,
    }
  },
}

function putAll(writer: MessageWriter, driver: IpipDriver, underlayIndex: number): void {
  const { local, remote, ttl, pathMtuDiscovery, encapsulation } = driver
  // Any protocol inside, as flannel and `ip` have it by default.
  writer.putU8(IPTUN_PROTO, 0)
  if (local !== undefined) writer.putAddress(IPTUN_LOCAL, local)
  if (remote !== undefined) writer.putAddress(IPTUN_REMOTE, remote)
  writer
    .putU8(IPTUN_PMTUDISC, pathMtuDiscovery ? 1 : 0)
    .putU8(IPTUN_TOS, 0)
    .putU8(IPTUN_TTL, ttl)
  writer.putU32(IPTUN_LINK, underlayIndex).putU32(IPTUN_FWMARK, 0)
  writer.putU16(IPTUN_ENCAP_TYPE, encapsulation === undefined ? ENCAP_NONE : ENCAP_FOU).putU16(IPTUN_ENCAP_FLAGS, 0)
  writer.putU16be(IPTUN_ENCAP_SPORT, encapsulation?.sourcePort ?? 0)
  writer.putU16be(IPTUN_ENCAP_DPORT, encapsulation?.port ?? 0)
}

function encapsulationOf(data: AttributeTable): FouEncapsulation | undefined {
  if (!data.has(IPTUN_ENCAP_TYPE) || data.u16(IPTUN_ENCAP_TYPE) === ENCAP_NONE) return undefined
  return { sourcePort: portOf(data, IPTUN_ENCAP_SPORT), port: portOf(data, IPTUN_ENCAP_DPORT) }
}

function portOf(data: AttributeTable, type: number): number {
  return data.has(type) ? data.u16be(type) : 0
}
