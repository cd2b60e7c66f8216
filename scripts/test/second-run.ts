import type { Outcome } from './summary.ts'

type Ran = Outcome & { at: 'ran' }

/** With failures in more files it is no accident. In one file they follow from each other: its tests share their hosts. */
const MOST_FILES = 3

/**
 * What fails in a run of an hour, beside everything else on a shared machine, is run once more at its end, with the rest of its file and
 * nothing beside it. What fails again has failed; what passes is shaky, which the summary names: somebody has to look at it.
 */
export async function runFailedAgain(
  outcomes: ReadonlyMap<string, Outcome>,
  again: (suite: string, files: readonly string[]) => Promise<Outcome>,
): Promise<ReadonlyMap<string, Outcome>> {
  const failed = [...outcomes].flatMap(([suite, outcome]): [string, Ran][] =>
    outcome.at === 'ran' && outcome.failed.length > 0 ? [[suite, outcome]] : [],
  )
  const count = new Set(failed.flatMap(([, outcome]) => outcome.failed.map(({ file }) => file))).size
  if (count === 0 || count > MOST_FILES || failed.some(([, { trouble }]) => trouble.length > 0)) return outcomes
  const judged = new Map(outcomes)
  for (const [suite, outcome] of failed) {
    const files = new Set(outcome.failed.map(({ file }) => file))
    const second = await again(suite, [...files])
    if (second.at !== 'ran' || second.passed === 0 || second.trouble.length > 0) continue
    const titles = new Set(second.failed.map(({ title }) => title))
    // A test that fails the second time only has failed, too.
    const others = second.failed.filter(({ title }) => !outcome.failed.some((one) => one.title === title))
    const still = outcome.failed.filter(({ title }) => titles.has(title))
    const shaky = outcome.failed.filter(({ title }) => !titles.has(title))
    judged.set(suite, { ...outcome, failed: [...still, ...others], shaky })
  }
  return judged
}
