import { type Holder, holderWords } from '../state/instance-lock.ts'
import type { Condition } from '../status/status.ts'

/** What shows that this is not the only flannel daemon of the host. */
export interface Signs {
  readonly subnetFile: string
  /** Processes of flannel's daemon that can be seen and write the subnet file. */
  readonly running: readonly { readonly pid: number; readonly program: string }[]
  /** Something that flannel's daemon does has been done beside this one, not long ago. */
  readonly wroteSubnetFile: boolean
  /** A route of that kind, in words. */
  readonly madeRoute: string | undefined
  /** A second daemon of this program, which was refused not long ago. */
  readonly refused: Holder | undefined
}

export const OTHER_DAEMON = 'other-daemon'
export const OTHER_INSTANCE = 'other-instance'

/** In which daemon sets, units and distributions the second one is usually found. */
const FIND_IT =
  "keep one of the two: `kubectl get daemonsets -A | grep -i flannel` shows daemon sets, `systemctl disable --now` ends a unit of the host, and k3s has a flannel of its own unless it is started with --flannel-backend=none. Where its end cannot be seen this ends an hour after the last sign of it, and with this daemon's restart"

/** Pure. Nothing is changed for it: what the other one overwrites is repaired as ever. */
export function otherDaemonConditions(signs: Signs): readonly Condition[] {
  return [...flannelConditions(signs), ...instanceConditions(signs)]
}

function flannelConditions({ subnetFile, running, wroteSubnetFile, madeRoute }: Signs): readonly Condition[] {
  const seen = [
    ...running.map(({ program, pid }) => `it runs (${program}, pid ${pid})`),
    ...(wroteSubnetFile ? [`it has written ${subnetFile}`] : []),
    ...(madeRoute === undefined ? [] : [`it makes routes (${madeRoute})`]),
  ]
  if (seen.length === 0) return []
  const text = `another flannel daemon works on this host beside this one: ${seen.join(', ')}; what one of the two has written the other overwrites`
  return [{ code: OTHER_DAEMON, severity: 'warning', text, remedy: FIND_IT }]
}

function instanceConditions({ subnetFile, refused }: Signs): readonly Condition[] {
  if (refused === undefined) return []
  const text = `another flanneld (${holderWords(refused)}) is started for ${subnetFile} and ends each time, because this one serves it`
  const remedy =
    'delete one of the two daemon sets (kubectl get daemonsets -A | grep -i flannel) or units; this ends by itself some minutes later'
  return [{ code: OTHER_INSTANCE, severity: 'warning', text, remedy }]
}
