import { inspect, parseArgs } from 'node:util'
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
const seed = values.seed === undefined ? Date.now() & 0x7fffffff : Number(values.seed)
// Whatever ends this process, its histories can be had again.
process.stdout.write(`seed ${seed}\n`)

const unheard: unknown[] = []
process.on('unhandledRejection', (cause) => unheard.push(cause))
const details = await fc.check(outcome(assertAllHeard), {
  seed,
  numRuns: 1_000_000,
  interruptAfterTimeLimit: milliseconds,
  markInterruptAsFailure: false,
  ...(values.path === undefined ? {} : { path: values.path }),
})
const lines = [`${details.numRuns} histories, seed ${seed}`]
if (details.failed) {
  const { counterexamplePath, errorInstance } = details
  lines.push(
    String(fc.defaultReportMessage(details)),
    inspect(errorInstance),
    `Again: npm run simulate -- --seed=${seed} --path ${counterexamplePath}`,
  )
}
process.stdout.write(`${lines.join('\n')}\n`)
process.exit(details.failed ? 1 : 0)

function assertAllHeard(): void {
  const [cause] = unheard.splice(0)
  if (cause !== undefined) throw new Error('a promise failed that nobody waits for', { cause })
}
