import { isByDesign } from '../status/by-design.ts'
import type { PerFamily, StatusDocument } from '../status/status.ts'

/** Rows of the peer table that fit a screen; the JSON has all. */
const MOST_ROWS = 50

/** One line, for probes and prompts. */
export function statusLine(status: StatusDocument): string {
  const peers = status.peers.filter(({ state }) => state === 'ok').length
  const rejected = new Set(status.rejected.flatMap(({ id, reason }) => (isByDesign(reason) ? [] : [id]))).size
  const parts = [
    status.state,
    `lease ${status.lease === null ? 'none' : both(status.lease.subnets)}`,
    `backend ${status.backend?.type ?? 'none'}`,
    `peers ${peers}/${status.peers.length}`,
    ...(rejected > 0 ? [`rejected ${rejected}`] : []),
    `datastore ${status.datastore.up ? 'up' : 'down'}`,
    ...status.conditions.filter(({ severity }) => severity !== 'info').map(({ code }) => code),
  ]
  return clean(parts.join(', '))
}

/** The whole page: what is wrong comes last, where the eye is. */
export function statusText(status: StatusDocument): string {
  const { external, lease, backend, network, datastore } = status
  const rows: [string, string][] = [
    ['state', `${status.state}${status.ready ? '' : ', not ready'}`],
    ['version', `${status.version}, pid ${status.pid}, since ${status.startedAt}`],
    [
      'interface',
      external === null ? 'none yet' : `${external.interface} ${both(external.addresses)} (${external.reason})`,
    ],
    ['network', network === null ? 'no configuration yet' : both(network)],
    [
      'lease',
      lease === null
        ? 'none'
        : `${both(lease.subnets)}, ${lease.expiresAt === null ? 'reserved' : `until ${lease.expiresAt}`}`,
    ],
    [
      'backend',
      backend === null
        ? 'none yet'
        : `${backend.type}, MTU ${backend.mtu}${backend.devices.length > 0 ? `, ${backend.devices.join(' ')}` : ''}`,
    ],
    ...changeRow(status),
    ...endingRow(status),
    ...dataPlaneRow(status),
    ...guardRow(status),
    [
      'datastore',
      datastore.up
        ? `up, ${datastore.endpoint ?? ''}`
        : `down${datastore.error === null ? '' : `: ${datastore.error}`}, last success ${datastore.lastSuccess ?? 'never'}`,
    ],
  ]
  return `${[
    ...rows.map(([name, text]) => `${name.padEnd(10)} ${clean(text)}`),
    ...peerTable(status),
    ...section(
      'rejected',
      status.rejected.map(({ id, reason, text }) => `${id}: ${reason}: ${text}`),
    ),
    ...section('waited for by the change of the backend', waitingLines(status)),
    ...section('refused by the guard', offenderLines(status)),
    ...section('not ready', status.notReady),
    ...section(
      'conditions',
      status.conditions.map(
        ({ code, severity, since, text, remedy }) =>
          `${severity} ${code} since ${since}: ${text}${remedy && `; ${remedy}`}`,
      ),
    ),
  ].join('\n')}\n`
}

function peerTable(status: StatusDocument): readonly string[] {
  if (status.peers.length === 0) return ['', 'no peers']
  // What needs attention first.
  const sorted = [...status.peers].sort((a, b) => Number(a.state === 'ok') - Number(b.state === 'ok'))
  const rows = sorted
    .slice(0, MOST_ROWS)
    .map(({ subnets, publicIps, path, state, reason }) => [both(subnets), both(publicIps), path, state, reason])
  const more = sorted.length > MOST_ROWS ? [`  and ${sorted.length - MOST_ROWS} more (-o json shows all)`] : []
  return [
    '',
    ...columns([['SUBNET', 'PUBLIC IP', 'PATH', 'STATE', 'REASON'], ...rows.map((row) => row.map(clean))]),
    ...more,
  ]
}

function columns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_cell, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

function section(title: string, lines: readonly string[]): readonly string[] {
  if (lines.length === 0) return []
  const more = lines.length > MOST_ROWS ? [`  and ${lines.length - MOST_ROWS} more`] : []
  return ['', title, ...lines.slice(0, MOST_ROWS).map((line) => `  ${clean(line)}`), ...more]
}

function both(values: PerFamily): string {
  return [values.ipv4, values.ipv6].filter((text) => text !== undefined).join(' ')
}

// The daemon says what others wrote into their leases: none of it may drive the terminal.
function clean(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?')
}

function changeRow({ backendChange: change }: StatusDocument): [string, string][] {
  // A daemon of an earlier version says nothing of it.
  if (change === null || change === undefined) return []
  const { from, to, phase, peers, since, obstacle } = change
  const blocked = obstacle === '' ? '' : `; blocked: ${obstacle}`
  return [
    [
      'changing',
      `from ${from.join(', ')} to ${to}, ${phase}, ${peers.moved} of ${peers.total} peers moved, since ${since}${blocked}`,
    ],
  ]
}

function endingRow({ endingConnections: ending }: StatusDocument): [string, string][] {
  if (ending === null || ending === undefined) return []
  const { count, unknown } = ending
  return [
    [
      'ends',
      count === null
        ? `masqueraded connections to peers that have not moved; how many is not known: ${unknown}`
        : `${count} masqueraded connection${count === 1 ? '' : 's'} to peers that have not moved, when they do`,
    ],
  ]
}

function waitingLines({ backendChange }: StatusDocument): readonly string[] {
  return (backendChange?.waiting ?? []).map(({ id, family, reason }) => `${id} (${family}) ${reason}`)
}

function dataPlaneRow({ dataPlane }: StatusDocument): [string, string][] {
  if (dataPlane === null) return []
  const { packets, drops, deaths } = dataPlane
  const dropped = Object.entries(drops).flatMap(([reason, count]) => (count > 0 ? [`${reason} ${count}`] : []))
  const text = [
    `${packets.out} packets out, ${packets.in} in`,
    `dropped ${dropped.length === 0 ? 'none' : dropped.join(' ')}`,
    ...(deaths > 0 ? [`worker died ${deaths}x`] : []),
  ]
  return [['data plane', text.join('; ')]]
}

function guardRow({ guard }: StatusDocument): [string, string][] {
  // A daemon of an earlier version says nothing of it.
  if (guard === null || guard === undefined) return []
  const refused = Object.entries(guard.refused).flatMap(([rule, count]) => (count > 0 ? [`${rule} ${count}`] : []))
  const what = guard.mode === 'on' ? 'drops' : 'counts only, drops nothing'
  return [['guard', `${guard.mode} (${what}); packets refused: ${refused.join(', ') || 'none'}`]]
}

function offenderLines({ guard }: StatusDocument): readonly string[] {
  return (guard?.offenders ?? []).map(
    ({ rule, source, device, packets, lastSeen }) =>
      `${rule}: ${source} by ${device}, ${packets} packet${packets === 1 ? '' : 's'}, last ${lastSeen}`,
  )
}
