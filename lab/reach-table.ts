import { inParallel } from './build.ts'
import type { Container } from './container.ts'
import type { Host } from './host.ts'

/** Average round trip in milliseconds; undefined when nothing came back. */
export type RoundTrip = number | undefined

/** Who reaches whom: `rows[i][j]` is from host i's container to host j's. */
export interface ReachTable {
  readonly names: readonly string[]
  readonly rows: readonly (readonly RoundTrip[])[]
}

/** Pings every pair of first containers, each direction; a host to itself goes through its own bridge. */
export async function measureReach(hosts: readonly Host[], options: { count?: number } = {}): Promise<ReachTable> {
  const ends = hosts.map((host) => ({ host, container: firstContainer(host) }))
  const rows: RoundTrip[][] = ends.map(() => [])
  const pairs = ends.flatMap((from, i) => ends.map((to, j) => ({ from, to, i, j })))
  await inParallel(pairs, 6, async ({ from, to, i, j }) => {
    const { rttMs } = await from.container.ping(to.container.address, { count: options.count ?? 3, interval: 50 })
    const row = rows[i]
    if (row !== undefined) row[j] = rttMs?.avg
  })
  return { names: ends.map(({ host }) => host.label), rows: rows.map((row) => Array.from(row)) }
}

export function everyPairReaches(table: ReachTable): boolean {
  return table.rows.every((row) => row.length === table.names.length && row.every((cell) => cell !== undefined))
}

/** Lines, a row per sender. `colour` wraps the cells of a terminal. */
export function formatReach(table: ReachTable, options: { colour: boolean }): readonly string[] {
  const width = 9
  const head = ['from \\ to'.padEnd(10), ...table.names.map((name) => name.padStart(width))].join('')
  return [
    head,
    ...table.rows.map((row, index) => {
      const cells = table.names.map((_name, column) => cell(row[column], width, options.colour))
      return (table.names[index] ?? '').padEnd(10) + cells.join('')
    }),
  ]
}

/** Rows of cells with columns as wide as their widest cell. */
export function formatColumns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_cell, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows.map((row) =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

function cell(rtt: RoundTrip, width: number, colour: boolean): string {
  const text = (rtt === undefined ? 'lost' : `${rtt.toFixed(2)} ms`).padStart(width)
  if (!colour) return text
  return rtt === undefined ? `\x1b[31m${text}\x1b[0m` : `\x1b[32m${text}\x1b[0m`
}

function firstContainer(host: Host): Container {
  const [first] = host.containers
  if (first === undefined) throw new Error(`host ${host.label} has no container`)
  return first
}
