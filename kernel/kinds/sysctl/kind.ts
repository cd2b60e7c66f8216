import type { Kind } from '../kind.ts'

/** A value below /proc/sys; `path` as in `net/ipv4/conf/eth0/rp_filter`. Never removed, only set. */
export interface Sysctl {
  readonly kind: 'sysctl'
  readonly path: string
  readonly value: string
  /** The host's own: its value is recorded before it is changed, and given back afterwards. */
  readonly borrowed?: true
}

export const sysctl: Kind<Sysctl> = {
  name: 'sysctl',
  // Of `ip_forward` and `rp_filter` only.
  events: false,
  removed: false,
  key: ({ path }) => `sysctl ${path}`,
  compare: (actual, desired) => (actual.value === desired.value ? 'same' : 'update'),
  ownership: (_actual, wanted) => (wanted === undefined ? 'foreign' : 'ours'),
  // Sysctls of a device come back with their defaults when it is made again.
  device: ({ path }) => /^net\/[^/]+\/(?:conf|neigh)\/([^/]+)\//.exec(path)?.[1],
  describe: ({ path, value }) => `${path}=${value}`,
  commands: {
    create: setting,
    update: setting,
    remove: ({ path }) => `# /proc/sys/${path} stays as it is`,
  },
}

function setting({ path, value }: Sysctl): readonly string[] {
  return [`echo ${value} > /proc/sys/${path}`]
}
