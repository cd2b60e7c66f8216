import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { outcome } from './property.ts'

/**
 * npm run simulate -- --minutes 10            as many histories as fit, from a seed of its own
 * npm run simulate -- --seed=S [--path P]     the histories of that seed again; with a path the failing one alone
 */
const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '1' }, seed: { type: 'string' }, path: { type: 'string' } },
})
const milliseconds = Number(values.minutes) * 60_000
const details = await fc.check(outcome(), {
  numRuns: 1_000_000,
  interruptAfterTimeLimit: milliseconds,
  markInterruptAsFailure: false,
  ...(values.seed === undefined ? {} : { seed: Number(values.seed) }),
  ...(values.path === undefined ? {} : { path: values.path }),
})
const lines = [`${details.numRuns} histories, seed ${details.seed}`]
if (details.failed) {
  const { seed, counterexamplePath, errorInstance } = details
  lines.push(
    String(fc.defaultReportMessage(details)),
    String(errorInstance),
    `Again: npm run simulate -- --seed=${seed} --path ${counterexamplePath}`,
  )
}
process.stdout.write(`${lines.join('\n')}\n`)
process.exit(details.failed ? 1 : 0)
