import { formatColumns } from '../../lab/reach-table.ts'
import type { Figure, Goal, Sample, Side } from './measurement.ts'
import { median } from './statistics.ts'

export const heading: readonly string[] = ['what', 'ours', 'flannel', 'ratio', 'goal', '']

/** A row for each figure: both medians, their ratio, the goal and whether it is met. */
export function rowsOf(
  figures: readonly Figure[],
  samples: ReadonlyMap<Side['name'], readonly Sample[]>,
): readonly (readonly string[])[] {
  return figures.map((figure) => {
    const [ours, peer] = [medianOf(figure, samples.get('ours')), medianOf(figure, samples.get('flannel'))]
    const ratio = ours === undefined || !peer ? '' : (ours / peer).toFixed(2)
    return [
      figure.title,
      show(figure, ours),
      show(figure, peer),
      ratio,
      goalText(figure),
      verdict(figure.goal, ours, peer),
    ]
  })
}

export function table(rows: readonly (readonly string[])[]): string {
  return formatColumns([heading, ...rows]).join('\n')
}

/** One repetition in a line, for the impatient. */
export function sampleLine(figures: readonly Figure[], sample: Sample): string {
  return figures.map((figure) => `${figure.title} ${show(figure, sample[figure.key])}`).join(', ')
}

function medianOf({ key }: Figure, samples: readonly Sample[] | undefined): number | undefined {
  const values = (samples ?? []).flatMap((sample) => sample[key] ?? [])
  return values.length === 0 ? undefined : median(values)
}

function show({ unit, digits }: Figure, value: number | undefined): string {
  return value === undefined ? '-' : `${value.toFixed(digits)} ${unit}`.trim()
}

function goalText({ goal, unit }: Figure): string {
  if (goal === undefined) return ''
  if ('under' in goal) return `under ${goal.under} ${unit}`.trim()
  return goal.timesPeer === 1 ? 'the peer' : `${goal.timesPeer} of the peer`
}

function verdict(goal: Goal | undefined, ours: number | undefined, peer: number | undefined): string {
  if (goal === undefined || ours === undefined) return ''
  if ('under' in goal) return ours < goal.under ? 'met' : 'MISSED'
  if (peer === undefined) return 'no peer'
  return ours <= peer * goal.timesPeer ? 'met' : 'MISSED'
}
