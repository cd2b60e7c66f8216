import koffi from 'koffi'
import { closeDescriptor } from './libc.ts'

const libc = koffi.load(null)
const open = libc.func('int open(const char *, int)')
const ioctlPointer = libc.func('int ioctl(int, unsigned long, void *)')
const ioctlNumber = libc.func('int ioctl(int, unsigned long, unsigned long)')

/** A tun device that this process holds: reads give IP packets, writes inject them, each behind a virtio_net_hdr. */
export interface Tun {
  readonly fd: number
  /** The kernel hands over TCP segments of up to 64 KiB, and checksums that are not filled in. */
  readonly tcpSegments: boolean
  /** The same for trains of UDP datagrams (Linux 6.2). */
  readonly udpSegments: boolean
}

/** Bytes of the header before each packet: struct virtio_net_hdr_mrg_rxbuf, so that the packet behind it is aligned. */
export const VNET_HEADER_BYTES = 12

// Source: linux/if_tun.h, generic ioctl numbers (every architecture that koffi is built for).
const TUNSETIFF = 0x400454ca
const TUNSETPERSIST = 0x400454cb
const TUNSETOFFLOAD = 0x400454d0
const TUNSETVNETHDRSZ = 0x400454d8
const IFF_TUN = 0x0001
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
const TUN_F_CSUM = 0x01
const TUN_F_TSO4 = 0x02
const TUN_F_USO4 = 0x20
const TUN_F_USO6 = 0x40

const O_RDWR = 2
const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000
const NAME_BYTES = 16

/**
 * Attaches to the tun device, which is made when there is none and stays when the process ends (TUNSETPERSIST): its
 * routes keep packets from leaving in clear. The descriptor does not block. Returns the negative errno: EBUSY (-16) when
 * another process holds the device, EINVAL (-22) when a device of that name is no tun, ENOENT (-2) without /dev/net/tun.
 */
export function openTun(name: string): Tun | number {
  const request = new Uint8Array(40)
  const written = new TextEncoder().encodeInto(name, request.subarray(0, NAME_BYTES - 1))
  if (written.read !== name.length || name === '') return -22
  new DataView(request.buffer).setUint16(NAME_BYTES, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, true)
  const fd = open('/dev/net/tun', O_RDWR | O_NONBLOCK | O_CLOEXEC)
  if (fd < 0) return -koffi.errno()
  const failed = attach(fd, request)
  if (failed < 0) {
    closeDescriptor(fd)
    return failed
  }
  const tcp = TUN_F_CSUM | TUN_F_TSO4
  // Linux takes UDP trains for both families at once or not at all.
  const udpSegments = ioctlNumber(fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) >= 0
  const tcpSegments = udpSegments || ioctlNumber(fd, TUNSETOFFLOAD, tcp) >= 0
  // The offloads of the last holder stay on a persistent device.
  if (!tcpSegments) ioctlNumber(fd, TUNSETOFFLOAD, 0)
  return { fd, tcpSegments, udpSegments }
}

/** Makes the device, or makes it stay; nobody holds it afterwards. Returns 0 or what `openTun` does. */
export function makeTun(name: string): number {
  const tun = openTun(name)
  if (typeof tun === 'number') return tun
  closeDescriptor(tun.fd)
  return 0
}

function attach(fd: number, request: Uint8Array): number {
  if (ioctlPointer(fd, TUNSETIFF, request) < 0) return -koffi.errno()
  if (ioctlPointer(fd, TUNSETVNETHDRSZ, Int32Array.of(VNET_HEADER_BYTES)) < 0) return -koffi.errno()
  return ioctlNumber(fd, TUNSETPERSIST, 1) < 0 ? -koffi.errno() : 0
}
