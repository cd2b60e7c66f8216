/** Everything that one `iptables-save` printed. */
export type SavedRules = ReadonlyMap<string, SavedTable>
export type SavedTable = ReadonlyMap<string, SavedChain>

export interface SavedChain {
  /** Undefined for chains that users made. */
  readonly policy: string | undefined
  /** Without `-A CHAIN`, in order. */
  readonly rules: readonly string[]
  /** The rules' numbers in nft, of a chain that iptables cannot read. */
  readonly handles?: readonly number[]
}

export const NO_RULES: SavedRules = new Map()

/** Source: iptables-save(8); lines that it does not know are skipped. Throws a SyntaxError for a text that ends within a table. */
export function parseSaved(text: string): SavedRules {
  const tables = new Map<string, Map<string, { policy: string | undefined; rules: string[] }>>()
  let chains: Map<string, { policy: string | undefined; rules: string[] }> | undefined
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      if (chains !== undefined) throw new SyntaxError('a table does not end')
      chains = new Map()
      tables.set(line.slice(1).trim(), chains)
    } else if (line === 'COMMIT') chains = undefined
    else if (line.startsWith(':')) {
      const [name = '', policy = '-'] = line.slice(1).split(' ')
      chains?.set(name, { policy: policy === '-' ? undefined : policy, rules: [] })
    } else if (line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3)
      const name = end < 0 ? line.slice(3) : line.slice(3, end)
      chains?.get(name)?.rules.push(end < 0 ? '' : line.slice(end + 1).trim())
    }
  }
  if (chains !== undefined) throw new SyntaxError('the last table does not end')
  return tables
}
