// npm run bench [-- NAME ...] [-- --rounds N] [-- --daemon PATH] [-- --alone]: what Documentation/benchmarks.md lists.
// Ours and flannel's own daemon ($FLANNELD_PEER) take turns in the same lab; medians count. Exit code 1 when a goal is missed.
import process from 'node:process'
import { parseArgs } from 'node:util'
import { UsageError } from '../../lib/errors.ts'
import { peerProgram, whyAbsent } from '../needs.ts'
import { guard } from './guard.ts'
import { heartbeats } from './heartbeats.ts'
import { idle, idleMasquerade } from './idle.ts'
import { join } from './join.ts'
import { kube1000, kube5000 } from './kube.ts'
import { latency, latency5000, latencyDirect5000, latencyExcluding5000 } from './latency.ts'
import { liveChange } from './live-change.ts'
import { liveChangeCrowd } from './live-change-crowd.ts'
import { type Measurement, measure, type Side } from './measurement.ts'
import { peers1000, peers5000, peers20000 } from './peers.ts'
import { rowsOf, sampleLine, table } from './report.ts'
import { rewrites } from './rewrites.ts'
import { start } from './start.ts'

const measurements: readonly Measurement[] = [
  start,
  peers1000,
  peers5000,
  peers20000,
  latency,
  latency5000,
  latencyExcluding5000,
  latencyDirect5000,
  idle,
  idleMasquerade,
  rewrites,
  join,
  guard,
  kube1000,
  kube5000,
  heartbeats,
  liveChange,
  liveChangeCrowd,
]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    /** In place of each measurement's own number of repetitions. */
    rounds: { type: 'string' },
    /** Another build of ours, to compare two of them. */
    daemon: { type: 'string' },
    /** Without the peer, while tuning. */
    alone: { type: 'boolean', default: false },
  },
})

const print = (text: string) => process.stdout.write(`${text}\n`)
const chosen = positionals.length === 0 ? measurements : positionals.map(byName)
const sides = sidesOf()
const rows: (readonly string[])[] = []
for (const measurement of chosen) {
  print(`${measurement.name} ...`)
  const samples = await measure(measurement, sides, {
    rounds: values.rounds === undefined ? measurement.rounds : Number(values.rounds),
    onSample: (side, sample) => print(`  ${side.name}: ${sampleLine(measurement.figures, sample)}`),
  })
  rows.push(...rowsOf(measurement.figures, samples))
}
print(`\n${table(rows)}`)
if (rows.some((row) => row.at(-1) === 'MISSED')) process.exitCode = 1

function byName(name: string): Measurement {
  const found = measurements.find((measurement) => measurement.name === name)
  if (found !== undefined) return found
  throw new UsageError(`no benchmark ${name}; there are ${measurements.map((known) => known.name).join(', ')}`)
}

function sidesOf(): readonly Side[] {
  const ours: Side = { name: 'ours', daemon: values.daemon === undefined ? {} : { program: values.daemon } }
  if (values.alone) return [ours]
  const absent = whyAbsent('peer:flanneld')
  if (absent === undefined) return [ours, { name: 'flannel', daemon: { program: peerProgram('peer:flanneld') } }]
  print(`\n*** ${absent}: flannel is not measured, and no goal that depends on it is judged ***\n`)
  return [ours]
}
