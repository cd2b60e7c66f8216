import type { Facts } from '../facts.ts'
import { type Line, ok, warn } from '../line.ts'

/** Our own daemons see each other by a lock; flannel's knows none. From within a container only the daemon tells what others do. */
export function checkDaemons({ daemons }: Facts): readonly Line[] {
  if (daemons === undefined) return []
  const { subnetPath, flannels, ours, seen = [] } = daemons
  if (flannels.length === 0) {
    if (seen.length > 0) return seen.map(({ text, remedy }) => warn('subnet-file', text, remedy))
    const served = ours === undefined ? 'is written by no daemon that runs' : `is served by flanneld (pid ${ours})`
    return [ok('subnet-file', `${subnetPath} ${served}`)]
  }
  return flannels.map(({ pid, program }) =>
    warn(
      'subnet-file',
      `flannel's own daemon runs (${program}, pid ${pid}) and writes ${subnetPath}: what one of the two has written the other overwrites`,
      'stop it, and keep it from being started again (systemctl disable --now of its unit), before this daemon starts; or give one of the two another --subnet-file',
    ),
  )
}
