import type { Way } from '../../backends/way.ts'
import type { LeaseAttrs } from '../../subnet/types.ts'

type Paths = readonly [Pick<Way, 'path'>, ...Pick<Way, 'path'>[]]

/** Of its ways: what a node tells the others. */
export interface Advertised {
  /** It receives by each of them now; a node of flannel sees the first. */
  readonly accepts: Paths
  /** By these it sends to somebody; absent where that is the one that it receives by. */
  readonly sends?: readonly Pick<Way, 'path'>[]
}

/** A single way is said once, in flannel's words; a port and direct paths, which these do not have, need ours. */
export function pathsSaid(ways: Advertised['accepts']): Pick<LeaseAttrs, 'primary' | 'accepts'> {
  const [{ path: first }, ...others] = ways
  const isPlain = others.length === 0 && first.port === undefined && first.direct === undefined
  const { backend, data } = first
  return { primary: { backend, data }, accepts: isPlain ? [] : ways.map(({ path }) => path) }
}
