/** What comes before the plugins of others: the own conflist's, or those of flannel's, in whose place it is written. */
const BEGINNINGS: readonly string[] = ['bridge portmap', 'flannel portmap']

/** A conflist, in which each plugin is at least an object with a type. */
interface Conflist {
  readonly name: string
  readonly plugins: readonly { readonly type: string }[]
}

/**
 * The conflist `content` with the plugins that other programs (istio-cni, linkerd-cni) have appended to it in `found`. That is `found` itself,
 * to the byte, where it says the same: such a program formats the file in its own way.
 */
export function withChainedPlugins(content: string, found: string): string {
  try {
    const theirs = parse(found)
    const ours = parse(content)
    if (theirs === undefined || ours === undefined || theirs.name !== ours.name) return content
    const beginning = theirs.plugins.slice(0, 2)
    if (!BEGINNINGS.includes(beginning.map(({ type }) => type).join(' '))) return content
    if (inOrder({ ...theirs, plugins: beginning }) === inOrder(ours)) return found
    const chained = theirs.plugins.slice(2)
    if (chained.length === 0) return content
    return `${JSON.stringify({ ...ours, plugins: [...ours.plugins, ...chained] }, undefined, 2)}\n`
  } catch {
    // No JSON, or nested deeper than any reader follows.
    return content
  }
}

/** Undefined: no conflist that a runtime takes. @throws SyntaxError */
function parse(text: string): Conflist | undefined {
  const value = JSON.parse(text)
  if (typeof value?.name !== 'string' || !Array.isArray(value.plugins)) return undefined
  return value.plugins.every(isPlugin) ? value : undefined
}

function isPlugin(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

/** The same text for the same value, whatever the order of its keys. */
function inOrder(value: unknown): string {
  return JSON.stringify(value, (_key, part) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
}
