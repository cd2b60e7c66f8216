/** Reasons for which no packets go to a lease though nothing is wrong: they are listed and degrade nothing. */
const reasons: ReadonlySet<string> = new Set([
  // Nobody holds it yet.
  'unclaimed-reservation',
  'reserved',
  // No lease at all: flannel passes over such keys, too.
  'foreign-key',
  // A Windows node has a VXLAN network of its own.
  'other-vni',
])

export function isByDesign(reason: string): boolean {
  return reasons.has(reason)
}
