import { execFileSync } from 'node:child_process'

/** Seconds since 1970 of what is packed, so that the same sources make the same bytes: https://reproducible-builds.org/specs/source-date-epoch/ */
export function sourceDate(root: string): number {
  const given =
    process.env['SOURCE_DATE_EPOCH'] ??
    execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' })
  if (!/^\d{1,10}\s*$/.test(given)) throw new Error(`SOURCE_DATE_EPOCH must be seconds since 1970, not ${given}`)
  return Number(given)
}
