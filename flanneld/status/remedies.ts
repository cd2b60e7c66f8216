import { SMALLEST_MTU } from '../../backends/devices.ts'
import type { Failure } from '../../kernel/desired.ts'
import { missingModule } from '../../kernel/kinds/missing-module.ts'
import { commandsFor } from '../../kernel/kinds/words.ts'
import type { Address, DesiredObject, Link, ObjectKind, StateFile } from '../../kernel/objects.ts'

/**
 * What an operator can do about an object that is not as wanted, by cause: never empty. Pure. `Failure.text` says what was
 * refused and why; here stands the next step.
 */
export function remedyFor(failure: Failure): string {
  if (failure.waitsFor !== undefined) return `mend ${failure.waitsFor} first; this follows by itself`
  switch (failure.cause) {
    case 'foreign':
      return `remove it by the command in the text, or ${elsewhere(failure.object)}`
    case 'fought':
      return `find the program that changes it, and keep it from doing so: ${usualRivals(failure.object.kind)}`
    case 'refused':
      return remedyForRefusal(failure)
  }
}

function remedyForRefusal(failure: Failure): string {
  const { role } = failure.object
  // The plan knows what nobody else does: which number is too small, and how large it must be.
  if (role.class === 'required' && role.remedy !== undefined) return role.remedy
  const module = missingModule(failure)
  if (module !== undefined) return `load it on the host with 'modprobe ${module}', or choose another backend`
  const { object, code = '' } = failure
  return special(object, code) ?? byCode(object, code) ?? byHand(object)
}

/** Where a kind has a reason of its own for an error. */
function special(object: DesiredObject, code: string): string | undefined {
  switch (object.kind) {
    case 'link':
      return linkRemedy(object, code)
    case 'address':
      return object.family === 6 ? ipv6Remedy(object, code) : undefined
    case 'file':
      return fileRemedy(object, code)
    default:
      return undefined
  }
}

/** The kernel has no IPv6 on a device whose MTU is too small for it, nor where it is switched off. */
function ipv6Remedy({ device }: Address, code: string): string | undefined {
  switch (code) {
    case 'EINVAL':
      return `IPv6 needs an MTU of ${SMALLEST_MTU[6]} on ${device}: make Backend.MTU or the MTU of the external interface larger`
    case 'EACCES':
    case 'EADDRNOTAVAIL':
    case 'EOPNOTSUPP':
      return `switch IPv6 on: sysctl -w net.ipv6.conf.${device}.disable_ipv6=0`
    default:
      return undefined
  }
}

/** Where both could live. */
function elsewhere(object: DesiredObject): string {
  switch (object.kind) {
    case 'link':
      return object.driver.type === 'vxlan' ? 'choose another Backend.VNI' : 'choose another backend'
    case 'fou-port':
      return 'choose another Backend.Port'
    case 'route':
    case 'address':
      return 'choose another Network'
    default:
      return 'rename it'
  }
}

function usualRivals(kind: ObjectKind): string {
  switch (kind) {
    case 'link':
    case 'address':
    case 'route':
      return 'systemd-networkd and NetworkManager must leave the device unmanaged'
    case 'iptables-chain':
    case 'nft-table':
    case 'guard-sets':
    case 'guard-peer':
    case 'guard-chains':
      return 'a firewall service that loads its rules anew, or a second daemon with the same --subnet-file'
    case 'sysctl':
      return 'files in /etc/sysctl.d, and tuning services'
    default:
      return 'another flanneld, or configuration management'
  }
}

function linkRemedy(link: Link, code: string): string | undefined {
  const { driver, mtu } = link
  const underlay = 'underlay' in driver ? driver.underlay : undefined
  switch (code) {
    case 'EEXIST':
      return `delete the device in the way (ip link delete NAME), or choose another ${driver.type === 'vxlan' ? 'Backend.VNI or Backend.Port' : 'backend'}`
    case 'EADDRINUSE':
      return 'stop what uses the port, or choose another Backend.Port'
    case 'EINVAL':
    case 'ERANGE':
      if (mtu >= SMALLEST_MTU[4]) return undefined
      return `give the external interface an MTU that is ${SMALLEST_MTU[4] - mtu} bytes larger: the kernel takes no device below ${SMALLEST_MTU[4]}`
    case 'ENODEV':
      return `bring ${underlay ?? 'the device below it'} back, or name another interface by --iface`
    case 'ENETDOWN':
      return `set ${underlay ?? link.name} up (ip link set ${underlay ?? link.name} up), or name another interface by --iface`
    case 'EAFNOSUPPORT':
      return 'let the kernel have IPv6 (boot it without ipv6.disable=1), or set EnableIPv6 to false'
    case 'EBUSY':
      return `stop the program that holds ${link.name}: another flanneld, or a VPN with a device of this name`
    default:
      return undefined
  }
}

function fileRemedy({ path, option = '--subnet-file' }: StateFile, code: string): string | undefined {
  switch (code) {
    case 'EISDIR':
    case 'ENOTEMPTY':
      return `remove the directory ${path} (rmdir), or name another place by ${option}`
    case 'ENOSPC':
    case 'EDQUOT':
      return `free space on the file system of ${path}`
    case 'EROFS':
      return `mount the file system of ${path} writable, or name another place by ${option}`
    case 'EACCES':
    case 'EPERM':
      return `let the daemon write in the directory of ${path}, or name another place by ${option}`
    case 'ENOTDIR':
    case 'EEXIST':
    case 'ELOOP':
    case 'ENAMETOOLONG':
      return `each part of the path ${path} but the last must be a directory; else name another place by ${option}`
    default:
      return undefined
  }
}

function byCode(object: DesiredObject, code: string): string | undefined {
  switch (code) {
    case 'EPERM':
    case 'EACCES':
      return 'run the daemon as root, or give it the capabilities CAP_NET_ADMIN and CAP_NET_RAW in this network namespace'
    case 'EROFS':
      return 'mount /proc/sys writable for the daemon, or set the value on the host'
    case 'EADDRINUSE':
      return 'stop what uses the port, or choose another Backend.Port'
    case 'EADDRNOTAVAIL':
      return 'look whether the address is still on the interface (ip address), and whether IPv6 is switched off there (sysctl net.ipv6.conf)'
    case 'ENETUNREACH':
    case 'EHOSTUNREACH':
      return 'the gateway must be on a link of this host: look at its addresses and routes (ip address, ip route)'
    case 'ENETDOWN':
      return 'set the device up (ip link set NAME up)'
    case 'EBUSY':
      return 'end what holds it: for iptables, fuser -v /run/xtables.lock names it'
    case 'ETIMEDOUT':
      return 'run the program by hand to see what holds it up; it is tried again by itself'
    case 'ENOSYS':
      return `install the package ${object.kind === 'iptables-chain' ? 'iptables' : 'nftables'}`
    case 'ENOMEM':
    case 'ENOBUFS':
    case 'ENOSPC':
      return 'look for memory that is used up (free, dmesg); it is tried again by itself'
    default:
      return undefined
  }
}

/** What shows the refusal to somebody who sits at the host. */
function byHand(object: DesiredObject): string {
  const [command] = commandsFor({ verb: 'create', object })
  return command === undefined || command.startsWith('#') || command.includes('\n')
    ? 'it is tried again by itself; the log and `flanneld plan` tell more'
    : `try by hand what is refused: ${command}`
}
