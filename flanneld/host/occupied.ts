import type { HostInterface, HostKernel } from '../../kernel/host.ts'
import type { IpAddr } from '../../lib/address.ts'

/** Addresses of bridges that have ports: containers behind them have addresses of the same subnet. @throws OpFailure */
export async function occupiedAddresses(kernel: Pick<HostKernel, 'listInterfaces'>): Promise<readonly IpAddr[]> {
  return occupiedBy(await kernel.listInterfaces())
}

/** The same of interfaces that are known. */
export function occupiedBy(interfaces: readonly HostInterface[]): readonly IpAddr[] {
  const withPorts = new Set(interfaces.map(({ master }) => master).filter((index) => index !== 0))
  return interfaces
    .filter(({ index, kind }) => kind === 'bridge' && withPorts.has(index))
    .flatMap(({ addresses }) => addresses.map(({ address }) => address))
}
