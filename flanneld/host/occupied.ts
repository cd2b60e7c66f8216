import type { HostInterface, HostKernel } from '../../kernel/host.ts'
import { addressBits, familyOf, type IpAddr } from '../../lib/address.ts'

/** Addresses of this host by which it reaches containers: these have addresses of the same subnet. @throws OpFailure */
export async function occupiedAddresses(kernel: Pick<HostKernel, 'listInterfaces'>): Promise<readonly IpAddr[]> {
  return occupiedBy(await kernel.listInterfaces())
}

/** The same of interfaces that are known: addresses of bridges that have ports, and of single containers' pairs. */
export function occupiedBy(interfaces: readonly HostInterface[]): readonly IpAddr[] {
  const withPorts = new Set(interfaces.map(({ master }) => master).filter((index) => index !== 0))
  const found = interfaces.flatMap((device) =>
    device.addresses
      .filter((each) => (device.kind === 'bridge' && withPorts.has(device.index)) || isGateway(device, each))
      .map(({ address }) => address),
  )
  // On ptp all containers have one gateway.
  return [...new Set(found)]
}

/** The ptp plugin gives the gateway's address to the host's end of each container's pair. */
export function isGateway(
  { kind }: Pick<HostInterface, 'kind'>,
  { address, length }: HostInterface['addresses'][number],
): boolean {
  return kind === 'veth' && length === addressBits(familyOf(address))
}
