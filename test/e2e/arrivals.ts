import type { Namespace } from '../../lab/namespace.ts'

/** How many packets with this source have come to a namespace since. */
export async function countArrivals(at: Namespace, source: string): Promise<() => Promise<number>> {
  const table = `judge${source.replaceAll(/\W/g, '')}`
  const chain = `chain c { type filter hook input priority 0; ip saddr ${source} counter; }`
  // One of before would go on counting.
  await at.exec(['nft', `add table ip ${table}; delete table ip ${table}; table ip ${table} { ${chain}; }`])
  return async () => {
    const { stdout } = await at.exec(['nft', 'list', 'table', 'ip', table])
    return Number(/counter packets (\d+)/.exec(stdout)?.[1])
  }
}
