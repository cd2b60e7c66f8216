import type { Way } from '../../backends/way.ts'

type Paths = readonly [Pick<Way, 'path'>, ...Pick<Way, 'path'>[]]

/** Of its ways: what a node tells the others. */
export interface Advertised {
  /** It receives by each of them now; a node of flannel sees the first. */
  readonly accepts: Paths
  /** By these it sends to somebody; absent where that is the one that it receives by. */
  readonly sends?: readonly Pick<Way, 'path'>[]
}
