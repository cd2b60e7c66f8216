/** The value below which the share `part` (0 to 1) of the values lies: the nearest one in order, none between two. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const found = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1))]
  if (found === undefined) throw new RangeError('no values')
  return found
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}
