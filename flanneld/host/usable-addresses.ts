import type { HostAddress } from '../../kernel/host.ts'
import type { Family, IpAddr } from '../../lib/address.ts'
import type { Candidate } from './candidates.ts'

/**
 * Addresses that packets to other hosts can come from, best first: the preferred one, global before link-local, lasting before
 * temporary, permanent before dynamic; the kernel's order decides between equals.
 */
export function usableAddresses(
  { addresses }: Candidate,
  family: Family,
  preferred: IpAddr | undefined,
): readonly HostAddress[] {
  return addresses
    .filter((each) => each.family === family && isUsable(each))
    .map((each, index) => ({ each, index, rank: each.address === preferred ? -1 : rank(each) }))
    .sort((a, b) => a.rank - b.rank || a.index - b.index)
    .map(({ each }) => each)
}

function isUsable({ deprecated, duplicate, scope, address }: HostAddress): boolean {
  return !deprecated && !duplicate && scope !== 'host' && !/^(127\.|::1$)/.test(address)
}

// From a tentative address nothing can be sent yet; while the host starts it may be the only one.
function rank({ scope, permanent, temporary, tentative }: HostAddress): number {
  return (tentative ? 8 : 0) + (scope === 'link' ? 4 : 0) + (temporary ? 2 : 0) + (permanent ? 0 : 1)
}
