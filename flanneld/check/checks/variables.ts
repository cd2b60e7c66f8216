import { printable } from '../../../lib/errors.ts'
import type { Facts } from '../facts.ts'
import { fail, type Line, ok, warn } from '../line.ts'

/** Names that packages of Fedora, CentOS and others had, and what of ours they are. */
const MEANT: Readonly<Record<string, string>> = {
  FLANNEL_ETCD: 'etcd-endpoints',
  FLANNEL_ETCD_ENDPOINTS: 'etcd-endpoints',
  FLANNEL_ETCD_KEY: 'etcd-prefix',
  FLANNEL_ETCD_PREFIX: 'etcd-prefix',
  FLANNEL_ETCD_CAFILE: 'etcd-cafile',
  FLANNEL_ETCD_CERTFILE: 'etcd-certfile',
  FLANNEL_ETCD_KEYFILE: 'etcd-keyfile',
}

/** Their units turned these variables into flags; this program, as flannel itself, reads `FLANNELD_*` only. */
export function checkVariables({ variables }: Facts): readonly Line[] {
  if (variables === undefined) return []
  const unread = variables.found.flatMap((found) => {
    const option = MEANT[found.name]
    return option === undefined || variables.given.has(option) ? [] : [{ ...found, option }]
  })
  if (unread.length === 0) return [ok('variables', 'no variable of an older package goes unread')]
  return unread.map(({ where, name, value, option }) =>
    warn(
      'variables',
      `${name} in ${where} is read by nobody, and nothing else says ${option}`,
      `write FLANNELD_${option.toUpperCase().replaceAll('-', '_')}=${printable(value)} there, or give --${option}`,
    ),
  )
}

export function checkAvailability({ unavailable }: Facts): readonly Line[] {
  return unavailable === undefined
    ? []
    : [fail('options', unavailable.fault, 'leave it away: the daemon ends with 78 at its start')]
}
