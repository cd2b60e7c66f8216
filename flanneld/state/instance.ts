import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'
import { OPTION_TABLE } from '../options/option-table.ts'
import type { Options } from '../options/options.ts'

/** Which of several daemons on one host this is: the pair of etcd prefix and subnet file (architecture §5.3). */
export interface Instance {
  /** Short hash of the pair; empty for the pair of defaults. Stands in the names of what instances must not share. */
  readonly name: string
  readonly stateDir: string
  /** Undefined: none wanted. */
  readonly statusSocket: string | undefined
}

export function instanceOf(
  options: Pick<Options, 'etcdPrefix' | 'subnetFile' | 'stateDir' | 'statusSocket'>,
): Instance {
  const { etcdPrefix, subnetFile, stateDir, statusSocket } = options
  const isDefault =
    etcdPrefix === OPTION_TABLE['etcd-prefix'].fallback && subnetFile === OPTION_TABLE['subnet-file'].fallback
  if (isDefault) return { name: '', stateDir, statusSocket }
  const name = createHash('sha256')
    .update(JSON.stringify([etcdPrefix, subnetFile]))
    .digest('hex')
    .slice(0, 8)
  return { name, stateDir: join(stateDir, name), statusSocket: statusSocket && ownSocket(statusSocket, name) }
}

// A socket named by hand is taken as it is; the default one would be everybody's.
function ownSocket(path: string, name: string): string {
  return path === OPTION_TABLE['status-socket'].fallback ? join(dirname(path), `flanneld-${name}.sock`) : path
}
