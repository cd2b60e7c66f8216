// npm run bench:udp [-- --seconds 4] [--rounds 5] [--only udp,rtt] [--sides ours,flannel]: container to container through the userspace
// proxy, flannel's daemon ($FLANNELD_PEER) and what the kernel has, in turns. Prints every sample's median, the ratio to
// flannel, and whether the goal is met. In the virtual machine: npm run vm -- --minutes 20 -- npx tsx test/bench/udp.ts --sides fou,vxlan,veth,ours
import { existsSync } from 'node:fs'
import { loadavg } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { formatColumns } from '../../lab/reach-table.ts'
import { median } from './statistics.ts'
import { type Figure, measures } from './udp-measures.ts'
import { makeLab, type Side, sideNames, startSide } from './udp-sides.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    sides: { type: 'string', default: 'ours,flannel,vxlan,host-gw,veth' },
  },
})
const seconds = Number(values.seconds)
const rounds = Number(values.rounds)
const peerProgram = process.env['FLANNELD_PEER'] ?? ''
const wanted = values.sides.split(',')
for (const name of wanted) if (!sideNames.includes(name)) throw new Error(`--sides: ${sideNames.join(', ')}`)
if (!existsSync(peerProgram)) process.stderr.write('FLANNELD_PEER names no flannel daemon: no ratios\n')
const names = wanted.filter((name) => name !== 'flannel' || existsSync(peerProgram))
const chosen = measures.filter(({ name }) => values.only === '' || values.only.split(',').includes(name))

const lab = await makeLab(names)
try {
  const sides: Side[] = []
  for (const name of names) sides.push(await startSide(lab, name, peerProgram))
  const samples = new Map<string, number[]>()
  const began = loadavg()[0]
  for (let round = 0; round < rounds; round += 1) {
    for (const measure of chosen) {
      for (const side of sides) {
        if (measure.oursOnly && side.name !== 'ours') continue
        const figures = await measure.take(side, seconds)
        for (const [index, value] of figures.entries()) {
          const key = keyOf(side.name, measure.name, index)
          if (value !== undefined) samples.set(key, [...(samples.get(key) ?? []), value])
        }
        await delay(100)
      }
    }
    process.stderr.write(`round ${round + 1} of ${rounds}\n`)
  }
  const rows = chosen.flatMap((measure) =>
    measure.figures.map((figure, index) => {
      const medians = new Map(
        names.flatMap((name) => {
          const found = samples.get(keyOf(name, measure.name, index))
          return found === undefined ? [] : [[name, median(found)] as const]
        }),
      )
      return rowOf(figure, medians)
    }),
  )
  process.stdout.write(`${formatColumns([['what', ...names, 'ratio', 'goal', ''], ...rows]).join('\n')}\n`)
  process.stdout.write(
    `medians of ${rounds}, ${seconds} s each; load average ${began?.toFixed(1)} at the start, ${loadavg()[0]?.toFixed(1)} at the end\n`,
  )
} catch (cause) {
  // Said here, because a lab that cannot be closed either would hide it.
  process.stderr.write(`${cause instanceof Error ? cause.stack : cause}\n`)
  process.exitCode = 1
} finally {
  await lab.close()
}

function keyOf(side: string, measure: string, index: number): string {
  return `${side} ${measure} ${index}`
}

/** The ratio is that of ours to flannel's. */
function rowOf(figure: Figure, medians: ReadonlyMap<string, number>): readonly string[] {
  const [own, peer] = [medians.get('ours'), medians.get('flannel')]
  const ratio = own === undefined || !peer ? undefined : own / peer
  const shown = names.map((name) => medians.get(name)?.toFixed(figure.digits) ?? '-')
  return [
    `${figure.title} [${figure.unit}]`,
    ...shown,
    ratio?.toFixed(2) ?? '',
    goalText(figure),
    verdict(figure, own, ratio),
  ]
}

function goalText({ goal, unit }: Figure): string {
  if (goal === undefined) return ''
  if ('under' in goal) return `under ${goal.under} ${unit}`
  return 'atLeast' in goal ? `${goal.atLeast} times or more` : `${goal.atMost} times or less`
}

function verdict({ goal }: Figure, own: number | undefined, ratio: number | undefined): string {
  if (goal === undefined || own === undefined) return ''
  if ('under' in goal) return own < goal.under ? 'met' : 'MISSED'
  if (ratio === undefined) return ''
  return ('atLeast' in goal ? ratio >= goal.atLeast : ratio <= goal.atMost) ? 'met' : 'MISSED'
}
